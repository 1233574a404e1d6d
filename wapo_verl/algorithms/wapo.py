"""WAPO (arXiv 2606.16154): train on the completions that beat their group's mean, and on nothing else.

The batch loss, with A_i = r_i - mean(group), winners A_i > 0, rho = exp(lp - lp_old) per token:

    sum over winners' tokens of -min(rho*A, min(rho, 1+eps)*A) / (G * L)  /  (groups that have a winner)

G is the full group size, L a constant length, and each of k mini-batches is multiplied by k. veRL divides a mini-batch
of M rows by M*L (`loss_agg_mode=seq-mean-token-sum-norm`, `loss_scale_factor=L`), so the other factors are multiplied
into the advantages: A_i * M*k / (G * groups that have a winner), where M*k is the number of rows of the whole batch,
padding included. This needs neither M nor k, and holds for every split into mini-batches, micro-batches and ranks.

The paper leaves two variants open, and both are off by default: `+wapo.advantage` divides A further, and a selective
negative update (`+wapo.negative_weights`) trains on losers' tokens of chosen bins too; their A is below 0, and the loss
clips their ratio on both sides. The trainer skips the optimizer's step of a batch without a winner.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from wapo_verl.algorithms.algorithm import (
    Advantages,
    Algorithm,
    Conflict,
    Default,
    LossInputs,
    TokenLoss,
    errors,
    warnings,
)
from wapo_verl.algorithms.averaging import AVERAGING, shared
from wapo_verl.algorithms.batch import Batch, Completions
from wapo_verl.algorithms.groups import group_advantages, group_any, group_metrics, group_sizes, group_std
from wapo_verl.algorithms.objective import ACTOR, CORRECTION, FROM_THE_ROLLOUT, correction
from wapo_verl.algorithms.objective import NOTES as SHARED_NOTES

STD_FLOOR = 1e-8


def winners(advantages: torch.Tensor) -> torch.Tensor:
    """Return where an advantage is a winner's, A > 0: (N,) float -> (N,) bool."""
    return advantages > 0


def _by_group_std(plain: torch.Tensor, completions: Completions) -> torch.Tensor:
    """Divide by the group's population standard deviation, as GRPO does (arXiv 2402.03300)."""
    return plain / (group_std(completions.rewards, completions.groups, correction=0) + STD_FLOOR)


def _leave_one_out(plain: torch.Tensor, completions: Completions) -> torch.Tensor:
    """Use the mean of the other completions as the baseline: A * G / (G - 1), as RLOO does (arXiv 2402.14740)."""
    sizes = group_sizes(completions.groups)[completions.groups]
    return plain * sizes / (sizes - 1).clamp(min=1)


def _by_batch_std(plain: torch.Tensor, completions: Completions) -> torch.Tensor:
    """Divide by the standard deviation of the whole batch's advantages, as REINFORCE++ does (arXiv 2501.03262)."""
    return plain / (plain[completions.real].std(correction=0) + STD_FLOOR)


NORMALISATIONS: Mapping[str, Callable[[torch.Tensor, Completions], torch.Tensor]] = {
    "none": lambda plain, completions: plain,
    "group_std": _by_group_std,
    "leave_one_out": _leave_one_out,
    "batch_std": _by_batch_std,
}
"""The values of `+wapo.advantage`; each keeps the advantage's sign, so none changes who wins."""


def advantages(batch: Batch, options: Mapping[str, str]) -> Advantages:
    """Return the winners' advantages with WAPO's normaliser multiplied in, and zero on every other row.

    Each row of a completion has the completion's advantage. A completion whose mask is all zero is a member of its
    group like any other. `options["truncated"]` decides on completions that a length limit cut: "keep" treats them like
    any other, "zero" gives them the reward 0, and "drop" counts them in their group's mean and size, and among its
    winners in the normaliser, but never trains on them.

    Args:
        batch: the whole training batch of R rows, with the padding rows that veRL's average counts.
        options: {"truncated": "keep" | "zero" | "drop", "advantage": a key of `NORMALISATIONS`, "averaging": "own" |
            "kept_tokens"}.

    Returns:
        `rows` is A_i * R / (G * groups that have a winner) on winners, without G where the average is over kept tokens;
        `loser_rows` is the same on completions with A_i < 0 in groups that have a winner to train on.
    """
    completions = batch.completions()
    if options["truncated"] == "zero":
        completions = completions.with_rewards(completions.rewards.masked_fill(completions.truncated, 0))
    groups, real = completions.groups, completions.real
    plain = completions.gated(group_advantages(completions.rewards, groups))
    counted = real & ~completions.truncated if options["truncated"] == "drop" else real
    won = winners(plain) & counted
    with_winner = int(group_any(winners(plain) & real, groups).sum())
    normalised = NORMALISATIONS[options["advantage"]](plain, completions)
    if options["averaging"] == "kept_tokens":
        folded = shared(normalised, batch, completions, with_winner)
    else:
        folded = normalised / group_sizes(groups)[groups] * len(batch.rewards) / max(with_winner, 1)
        folded = folded[completions.of_row]
    losers = (plain < 0) & counted & group_any(won, groups)[groups]
    return Advantages(
        rows=torch.where(won[completions.of_row], folded, 0.0),
        winners=won[completions.of_row],
        metrics=group_metrics(completions.rewards, won, groups, real),
        loser_rows=torch.where(losers[completions.of_row], folded, 0.0),
    )


def clipped_loss(inputs: LossInputs) -> TokenLoss:
    """Return -min(rho*A, min(rho, 1+eps)*A) on winners' tokens and zero where A is 0; eps is `actor.clip_ratio_high`.

    With A > 0 this is -A * exp(min(ln rho, ln(1+eps))). The logarithm is clipped, because a ratio that overflows would
    turn its zero gradient into NaN. Losers' tokens, which only a selective negative update trains on, have their ratio
    clipped to [1 - `actor.clip_ratio_low`, 1 + eps]: PPO's pessimistic bound and a dual clip (arXiv 1912.09729).
    """
    active = (inputs.advantages != 0) & inputs.response_mask
    log_ratio = torch.where(active, inputs.log_prob - inputs.old_log_prob, 0.0)
    lowest = max(-inputs.actor.clip_ratio_low, -1.0)  # a clip_ratio_low above 1 is no lower clip
    bounds = torch.tensor([lowest, inputs.actor.clip_ratio_high], dtype=torch.float64)
    lower, upper = (float(bound) for bound in torch.log1p(bounds))
    floor = torch.where(inputs.advantages < 0, lower, -torch.inf).to(log_ratio.dtype)
    clipped = torch.maximum(log_ratio.clamp(max=upper), floor)
    return TokenLoss(values=torch.where(active, -inputs.advantages * torch.exp(clipped), 0.0))


def truncated_loss(inputs: LossInputs) -> TokenLoss:
    """Return -min(rho, 1+eps)*A*lp with the first factor held constant, and zero where A is 0; eps as above.

    WAPO with truncated importance sampling (arXiv 1802.01561, its rho-bar): up to 1+eps the gradient is that of
    `clipped_loss`; above, a token weighs 1+eps, where the clip gives it no gradient.
    """
    active = (inputs.advantages != 0) & inputs.response_mask
    log_ratio = torch.where(active, inputs.log_prob - inputs.old_log_prob, 0.0).detach()
    weights = torch.exp(log_ratio.clamp(max=math.log1p(inputs.actor.clip_ratio_high)))
    log_prob = torch.where(active, inputs.log_prob, 0.0)
    return TokenLoss(values=torch.where(active, -weights * inputs.advantages * log_prob, 0.0))


def reinforce_loss(inputs: LossInputs) -> TokenLoss:
    """Return -lp*A on winners' tokens and zero where A is 0: WAPO without importance sampling."""
    active = (inputs.advantages != 0) & inputs.response_mask
    return TokenLoss(values=torch.where(active, -inputs.advantages * torch.where(active, inputs.log_prob, 0.0), 0.0))


def sequence_length(config: Any) -> int:
    """Return L in tokens: the longest prompt plus the longest response (tool results included) of this run."""
    rollout = config.actor_rollout_ref.rollout
    return int(rollout.prompt_length) + int(rollout.response_length)


def _loss_mode(config: Any) -> str:
    """Choose the loss: `rollout_correction.rollout_is=token` asks for truncated importance sampling."""
    return TRUNCATED if correction(config).get("rollout_is") else "wapo"


def _eps(config: Any) -> float:
    """Return eps: `rollout_correction.rollout_is_threshold` - 1 where that truncates, else as published."""
    threshold = correction(config).get("rollout_is_threshold")
    truncates = _loss_mode(config) == TRUNCATED and _is_number(threshold)
    return float(str(threshold)) - 1 if truncates else 9.0


def _is_number(threshold: Any) -> bool:
    """Tell a bound from veRL's "lower_upper", two bounds outside which a token is left out."""
    return threshold is not None and "_" not in str(threshold)


TRUNCATED = "wapo_truncated"

DEFAULTS: Mapping[str, Default] = {
    f"{ACTOR}.policy_loss.loss_mode": _loss_mode,
    f"{ACTOR}.clip_ratio_high": _eps,
    f"{ACTOR}.loss_agg_mode": "seq-mean-token-sum-norm",
    f"{ACTOR}.loss_scale_factor": sequence_length,
    "algorithm.norm_adv_by_std_in_grpo": False,
    **FROM_THE_ROLLOUT,
}

NOTES: Mapping[str, str] = {
    **SHARED_NOTES,
    f"{ACTOR}.policy_loss.loss_mode": "winners only",
    f"{ACTOR}.clip_ratio_high": "eps: ratios count up to 1 + eps",
    f"{ACTOR}.loss_agg_mode": "the normaliser",
    f"{ACTOR}.loss_scale_factor": "L = longest prompt + longest response",
    "algorithm.norm_adv_by_std_in_grpo": "advantage = reward - group mean",
}


def check(config: Any) -> list[Conflict]:
    """Return the settings of the resolved configuration that contradict WAPO, and why."""
    actor, algorithm, corrects = config.actor_rollout_ref.actor, config.algorithm, correction(config)
    per_token = corrects.get("rollout_is") == "token" and _is_number(corrects.get("rollout_is_threshold"))
    return errors(
        (
            actor.policy_loss.loss_mode == TRUNCATED and bool(corrects.get("rollout_is")) and not per_token,
            CORRECTION,
            "WAPO's ratios are a token's, and have one bound: set rollout_is=token and rollout_is_threshold=NUMBER",
        ),
        (
            bool(algorithm.get("norm_adv_by_std_in_grpo", False)),
            "algorithm.norm_adv_by_std_in_grpo",
            "WAPO does not divide by the standard deviation; set it to False (+wapo.advantage=group_std divides)",
        ),
        (
            not (actor.clip_ratio_high or 0) > 0,
            f"{ACTOR}.clip_ratio_high",
            "eps must be positive; 9.0 was published",
        ),
    ) + warnings(
        (
            actor.policy_loss.loss_mode not in LOSSES,
            f"{ACTOR}.policy_loss.loss_mode",
            f"this is not WAPO's loss ({' or '.join(LOSSES)}), though the losers' advantages are still zero",
        ),
        (
            actor.loss_agg_mode != "seq-mean-token-sum-norm",
            f"{ACTOR}.loss_agg_mode",
            "the advantages are scaled for seq-mean-token-sum-norm; another mode trains with another step size",
        ),
        (
            actor.loss_agg_mode == "seq-mean-token-sum-norm" and actor.loss_scale_factor is None,
            f"{ACTOR}.loss_scale_factor",
            "without a constant veRL divides by each micro-batch's own width, so the gradient depends on the split",
        ),
        (
            bool(actor.entropy_coeff),
            f"{ACTOR}.entropy_coeff",
            "an entropy bonus gives losers a gradient too, and is skipped with a batch that has no winner",
        ),
        (
            bool(actor.use_kl_loss) and not (config.get("wapo") or {}).get("winners_kl", False),
            f"{ACTOR}.use_kl_loss",
            "a KL loss gives losers a gradient too, unless +wapo.winners_kl=true leaves them out, and is skipped with "
            "a batch that has no winner",
        ),
    )


LOSSES = {"wapo": clipped_loss, TRUNCATED: truncated_loss, "wapo_reinforce": reinforce_loss}

WAPO = Algorithm(
    name="wapo",
    advantages=advantages,
    losses=LOSSES,
    defaults=DEFAULTS,
    notes=NOTES,
    options={"truncated": ("keep", "zero", "drop"), "advantage": tuple(NORMALISATIONS), **AVERAGING},
    check=check,
    winners_only=True,
)
