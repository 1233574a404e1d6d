"""WAPO (arXiv 2606.16154): train on the completions that beat their group, and on nothing else.

The batch loss, with A_i = r_i - mean(group), winners A_i > 0, rho = exp(lp - lp_old) per token:

    sum over winners' tokens of -min(rho*A, min(rho, 1+eps)*A) / (G * L)  /  (groups that have a winner)

G is the full group size, L a constant length, and each of k mini-batches is multiplied by k. veRL divides a mini-batch
of M rows by M*L (`loss_agg_mode=seq-mean-token-sum-norm`, `loss_scale_factor=L`), so the advantages carry the rest:
A_i * M*k / (G * groups that have a winner), where M*k is the number of rows of the whole batch, padding included. That
needs neither M nor k, and holds for every split into mini-batches, micro-batches and ranks.

Left out: skipping the optimizer's step of a batch without a winner, which is the trainer's.
"""

from collections.abc import Mapping
from typing import Any

import torch

from wapo_verl.algorithms.algorithm import Advantages, Algorithm, Default, Finding, LossInputs, TokenLoss
from wapo_verl.algorithms.batch import Batch
from wapo_verl.algorithms.groups import group_advantages, group_any, group_sizes

ROLLOUT = "actor_rollout_ref.rollout"
ACTOR = "actor_rollout_ref.actor"
CORRECTION = "algorithm.rollout_correction"


def winners(advantages: torch.Tensor) -> torch.Tensor:
    """Tell which advantages are a winner's: A > 0, (N,) bool of (N,) float."""
    return advantages > 0


def advantages(batch: Batch, options: Mapping[str, str]) -> Advantages:
    """Return the winners' advantages with WAPO's normaliser folded in, zero on every other row.

    A completion's advantage stands on each of its rows. A completion whose mask is all zero is a member of its group
    like any other. `options["truncated"]` says what a truncated completion is: "keep" treats it like any other, "zero"
    gives it the reward 0, "drop" lets it count in its group's mean and size but never be a winner.

    Args:
        batch: the whole training batch, with the padding rows veRL will divide by.
        options: {"truncated": "keep" | "zero" | "drop"}.

    Returns:
        Advantages with `rows` = A_i * R / (G * groups that have a winner) on winners, R rows in the batch.
    """
    completions = batch.completions()
    groups, real = completions.groups, ~completions.padding
    rewards = completions.rewards
    if options["truncated"] == "zero":
        rewards = rewards.masked_fill(completions.truncated, 0)
    plain = group_advantages(rewards, groups)
    won = winners(plain) & real
    if options["truncated"] == "drop":
        won &= ~completions.truncated
    with_winner = int(group_any(won, groups).sum())
    scale = len(batch.rewards) / max(with_winner, 1)
    folded = torch.where(won, plain / group_sizes(groups)[groups] * scale, 0.0)
    return Advantages(
        rows=folded[completions.of_row],
        winners=won[completions.of_row],
        metrics=_metrics(plain, won, groups, real),
    )


def _metrics(plain: torch.Tensor, won: torch.Tensor, groups: torch.Tensor, real: torch.Tensor) -> dict[str, float]:
    """Count winners and groups among real completions; the advantages' mean is left out where nobody won."""
    real_groups = int(group_any(real, groups).sum())
    unequal = int(group_any((plain != 0) & real, groups).sum())
    metrics = {
        "wapo/winner_fraction": int(won.sum()) / max(int(real.sum()), 1),
        "wapo/groups": float(real_groups),
        "wapo/groups_with_winner": float(group_any(won, groups).sum()),
        "wapo/all_equal_groups": float(real_groups - unequal),
    }
    if won.any():
        metrics["wapo/winner_advantage/mean"] = float(plain[won].mean())
    return metrics


def clipped_loss(inputs: LossInputs) -> TokenLoss:
    """Return -min(rho*A, min(rho, 1+eps)*A) on winners' tokens, zero elsewhere; eps is `actor.clip_ratio_high`.

    With A > 0 this is -A * exp(min(ln rho, ln(1+eps))): clipping the logarithm keeps a ratio that overflows from
    turning its zero gradient into NaN.
    """
    active = winners(inputs.advantages) & inputs.response_mask
    log_ratio = torch.where(active, inputs.log_prob - inputs.old_log_prob, 0.0)
    limit = torch.log1p(torch.tensor(float(inputs.actor.clip_ratio_high), dtype=torch.float64))
    clipped = torch.clamp(log_ratio, max=float(limit))
    values = torch.where(active, -inputs.advantages * torch.exp(clipped), 0.0)
    return _measured(values, log_ratio.detach().double(), active, upper=float(limit))


def reinforce_loss(inputs: LossInputs) -> TokenLoss:
    """Return -lp*A on winners' tokens, zero elsewhere: importance sampling off. The ratio is only measured."""
    active = winners(inputs.advantages) & inputs.response_mask
    values = torch.where(active, -inputs.advantages * torch.where(active, inputs.log_prob, 0.0), 0.0)
    log_ratio = torch.where(active, (inputs.log_prob - inputs.old_log_prob).detach().double(), 0.0)
    return _measured(values, log_ratio, active, upper=float("inf"))


def _measured(values: torch.Tensor, log_ratio: torch.Tensor, active: torch.Tensor, upper: float) -> TokenLoss:
    tokens = active.sum()
    ratio = torch.where(active, torch.exp(log_ratio), 0.0)
    return TokenLoss(
        values=values,
        means={
            "wapo/upper_clip_fraction": (((log_ratio > upper) & active).sum(), tokens),
            "wapo/ratio_mean": (ratio.sum(), tokens),
        },
        maxima={"wapo/ratio_max": ratio.max()},
    )


def sequence_length(config: Any) -> int:
    """Return L, the longest sequence this run is configured for, in tokens: prompt and response with tool results."""
    rollout = config.actor_rollout_ref.rollout
    return int(rollout.prompt_length) + int(rollout.response_length)


DEFAULTS: Mapping[str, Default] = {
    f"{ACTOR}.policy_loss.loss_mode": "wapo",
    f"{ACTOR}.clip_ratio_high": 9.0,
    f"{ACTOR}.loss_agg_mode": "seq-mean-token-sum-norm",
    f"{ACTOR}.loss_scale_factor": sequence_length,
    "algorithm.norm_adv_by_std_in_grpo": False,
    f"{CORRECTION}.bypass_mode": True,
    f"{ROLLOUT}.calculate_log_probs": True,
    f"{ROLLOUT}.n": 8,
    f"{ACTOR}.calculate_entropy": True,
}

NOTES: Mapping[str, str] = {
    f"{ACTOR}.policy_loss.loss_mode": "winners only",
    f"{ACTOR}.clip_ratio_high": "eps: ratios count up to 1 + eps",
    f"{ACTOR}.loss_agg_mode": "the normaliser",
    f"{ACTOR}.loss_scale_factor": "L = longest prompt + longest response",
    "algorithm.norm_adv_by_std_in_grpo": "advantage = reward - group mean",
    f"{CORRECTION}.bypass_mode": "old log-probs are the rollout's own",
    f"{ROLLOUT}.calculate_log_probs": "the rollout keeps its log-probs",
    f"{ROLLOUT}.n": "G, completions a group",
    f"{ACTOR}.calculate_entropy": "bypass mode logs no entropy otherwise",
}


def check(config: Any, explicit: set[str]) -> list[Finding]:
    """Return what in the resolved configuration contradicts WAPO, and why."""
    return [*_errors(config), *_warnings(config)]


def _errors(config: Any) -> list[Finding]:
    actor, rollout, algorithm = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout, config.algorithm
    bypass = bool((algorithm.get("rollout_correction") or {}).get("bypass_mode", False))
    rules = (
        (
            bool(algorithm.get("norm_adv_by_std_in_grpo", False)),
            "algorithm.norm_adv_by_std_in_grpo",
            "WAPO does not divide by the standard deviation; set it to False or choose adv_estimator=grpo",
        ),
        (
            bool(algorithm.get("use_kl_in_reward", False)),
            "algorithm.use_kl_in_reward",
            "a KL term in the reward sets equal completions apart, and so decides who wins; use actor.use_kl_loss",
        ),
        (
            bypass and not rollout.calculate_log_probs,
            f"{ROLLOUT}.calculate_log_probs",
            "bypass mode takes the old log-probs from the rollout, which is told to keep none; set it to True",
        ),
        (
            not config.trainer.get("use_v1", True),
            "trainer.use_v1",
            "the old trainer replaces loss_mode in bypass mode; set it to True",
        ),
        (rollout.n < 2, f"{ROLLOUT}.n", "a completion alone in its group never wins; set it to 2 or more"),
        (not (actor.clip_ratio_high or 0) > 0, f"{ACTOR}.clip_ratio_high", "eps must be positive; 9.0 was published"),
    )
    return [Finding("error", key, message) for applies, key, message in rules if applies]


def _warnings(config: Any) -> list[Finding]:
    actor, correction = config.actor_rollout_ref.actor, config.algorithm.get("rollout_correction") or {}
    bypass = bool(correction.get("bypass_mode", False))
    rules = (
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
            not bypass,
            f"{CORRECTION}.bypass_mode",
            "the ratio is taken to recomputed log-probs, not to the policy that sampled the completions",
        ),
        (
            bypass and bool(correction.get("rollout_is") or correction.get("rollout_rs")),
            CORRECTION,
            "rollout_is and rollout_rs have no effect in bypass mode",
        ),
        (
            bool(actor.entropy_coeff),
            f"{ACTOR}.entropy_coeff",
            "an entropy bonus gives losers a gradient too, and is skipped with a batch that has no winner",
        ),
        (
            bool(actor.use_kl_loss),
            f"{ACTOR}.use_kl_loss",
            "a KL loss gives losers a gradient too, and is skipped with a batch that has no winner",
        ),
    )
    return [Finding("warning", key, message) for applies, key, message in rules if applies]


LOSSES = {"wapo": clipped_loss, "wapo_reinforce": reinforce_loss}

ALGORITHM = Algorithm(
    name="wapo",
    advantages=advantages,
    losses=LOSSES,
    defaults=DEFAULTS,
    notes=NOTES,
    options={"truncated": ("keep", "zero", "drop")},
    check=check,
)
