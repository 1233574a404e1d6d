"""CPGD (arXiv 2505.12504): clip the ratio's logarithm, and add a drift that keeps the policy near the old one.

The loss of a token, with A the group's weighted advantage, is averaged over all tokens of a mini-batch:

    -min(ln(rho) * A, clip(ln(rho), ln(1 - eps_low), ln(1 + eps_high)) * A)  +  alpha * min(sg(rho) - 1, c) * lp

rho = exp(lp - lp_old) is the token ratio and sg() stops the gradient. The second term, the drift, has the gradient of
KL(old || new), estimated as rho - 1 - ln(rho), with the ratio capped at 1 + c. It acts on every response token, also
where the advantage is zero; but a batch in which no completion has an advantage takes no step.

The numbers are veRL's keys: `clip_ratio_low` and `clip_ratio_high` are eps, `policy_loss.ppo_kl_coef` is alpha,
`clip_ratio_c` is 1 + c.
"""

from collections.abc import Mapping
from typing import Any

import torch

from wapo_verl.algorithms.algorithm import Advantages, Algorithm, Conflict, LossInputs, TokenLoss, errors
from wapo_verl.algorithms.averaging import over_tokens
from wapo_verl.algorithms.baselines import centred, estimator
from wapo_verl.algorithms.batch import Batch, Completions
from wapo_verl.algorithms.groups import group_any, group_std
from wapo_verl.algorithms.objective import ACTOR, NOTES, differences, objective

STD_FLOOR = 1e-6
LARGEST_FILTER_WEIGHT = 3.0


def std_weight(completions: Completions) -> torch.Tensor:
    """Return (r - mean) / (std + 1e-6), (C,) float64; std is the sample's (divided by G - 1)."""
    spread = group_std(completions.rewards, completions.groups, correction=1)
    return centred(completions) / (spread + STD_FLOOR)


def clip_filter_weight(completions: Completions) -> torch.Tensor:
    """Return (r - mean) * min(N / N', 3), (C,) float64.

    N is the number of completions in the batch, and N' the number in groups whose rewards differ. The weight makes up
    for groups whose rewards are all equal, up to a factor of 3.
    """
    plain = centred(completions)
    unequal = group_any((plain != 0) & completions.real, completions.groups)[completions.groups] & completions.real
    weight = int(completions.real.sum()) / max(int(unequal.sum()), 1)
    return plain * min(weight, LARGEST_FILTER_WEIGHT)


def clip_filter_by_groups_weight(completions: Completions) -> torch.Tensor:
    """Return (r - mean) * min(N / K', 3), (C,) float64, as released code that cites the paper has it.

    N is the number of completions, and K' the number of *groups* whose rewards differ: with groups of 3 or more the
    weight is always 3.
    """
    plain = centred(completions)
    unequal = int(group_any((plain != 0) & completions.real, completions.groups).sum())
    return plain * min(int(completions.real.sum()) / max(unequal, 1), LARGEST_FILTER_WEIGHT)


GROUP_WEIGHTS = {
    "std": std_weight,
    "clip_filter": clip_filter_weight,
    "clip_filter_by_groups": clip_filter_by_groups_weight,
    "equal": centred,
}


def advantages(batch: Batch, options: Mapping[str, str]) -> Advantages:
    """Return the advantages weighted by `options["group_weight"]`, a key of `GROUP_WEIGHTS`."""
    return estimator(GROUP_WEIGHTS[options["group_weight"]], over_tokens)(batch, options)


def loss(inputs: LossInputs) -> TokenLoss:
    """Return each token's loss (the module's docstring has the formula), with two metrics.

    `cpgd/drift` is KL(old || new) per token, in nats; `cpgd/drift_capped_fraction` is the share of tokens whose ratio
    is capped.
    """
    actor, mask = inputs.actor, inputs.response_mask
    log_ratio = torch.where(mask, inputs.log_prob - inputs.old_log_prob, 0.0)
    bounds = torch.tensor([1 - actor.clip_ratio_low, 1 + actor.clip_ratio_high], dtype=torch.float64)
    lower, upper = torch.log(bounds.clamp(min=0))  # an eps_low above 1 is no lower clip
    clipped = log_ratio.clamp(min=float(lower), max=float(upper))
    objective = torch.minimum(log_ratio * inputs.advantages, clipped * inputs.advantages)
    cap = actor.clip_ratio_c - 1
    excess = torch.expm1(log_ratio.detach())
    drift = actor.policy_loss.ppo_kl_coef * excess.clamp(max=cap) * torch.where(mask, inputs.log_prob, 0.0)
    tokens = mask.sum()
    divergence = torch.where(mask, excess - log_ratio.detach(), 0.0)
    return TokenLoss(
        values=torch.where(mask, drift - objective, 0.0),
        means={
            "cpgd/drift": (divergence.sum(), tokens),
            "cpgd/drift_capped_fraction": (((excess > cap) & mask).sum(), tokens),
        },
    )


def check(config: Any) -> list[Conflict]:
    """Return the settings of the resolved configuration that contradict CPGD, and why."""
    message = "the drift's ratio counts up to this, c + 1, which must be above 1; 3.0 was published"
    no_drift = not config.actor_rollout_ref.actor.clip_ratio_c > 1
    return [
        *errors((no_drift, f"{ACTOR}.clip_ratio_c", message)),
        *differences(config, DEFAULTS, but=("clip_ratio_c",)),
    ]


DEFAULTS = {
    **objective("cpgd", "token-mean", clip_ratio_low=0.2, clip_ratio_high=0.2, clip_ratio_c=3.0),
    f"{ACTOR}.policy_loss.ppo_kl_coef": 0.001,
}

CPGD = Algorithm(
    name="cpgd",
    advantages=advantages,
    losses={"cpgd": loss},
    defaults=DEFAULTS,
    notes={
        **NOTES,
        f"{ACTOR}.clip_ratio_c": "1 + c: the drift's ratio counts up to this",
        f"{ACTOR}.policy_loss.ppo_kl_coef": "alpha, weight of the drift",
    },
    options={"group_weight": tuple(GROUP_WEIGHTS)},
    check=check,
    acts_without_advantage=True,
)
