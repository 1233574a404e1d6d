"""Define objectives that weigh right answers against wrong ones, each by its reward alone or by a shifted mean.

With r in [0, 1] the reward of a completion, an answer of 0.3 counts as 0.3 right and 0.7 wrong:

    psr           A = r                 right answers alone (arXiv 2506.01347, positive sample reinforcement)
    nsr           A = r - 1             wrong answers alone (same paper, negative sample reinforcement)
    w_reinforce   A = 0.1 r + (r - 1)   both, the right ones at a tenth (same paper, lambda = 0.1)
    asymre        A = r - (mean - 0.1)  the group's mean, lowered (arXiv 2506.20520, delta V = -0.1)
    topr          A = 2 r - 1           both; a wrong answer counts by min(rho, 1) (arXiv 2503.14286)

Where r is 0 or 1 these are the papers' numbers; what lies between they do not say. None of them leaves out a group
whose answers are all right or all wrong, as those that subtract the group's mean do.
"""

from collections.abc import Callable, Mapping

import torch

from wapo_verl.algorithms.algorithm import Algorithm, Default, LossInputs, TokenLoss
from wapo_verl.algorithms.averaging import TOKEN_SUM, Averaging, longest_means, over_tokens
from wapo_verl.algorithms.baselines import Plain, centred, estimator
from wapo_verl.algorithms.batch import Completions
from wapo_verl.algorithms.objective import NO_DUAL_CLIP, NOTES, differences, objective

POSITIVE_WEIGHT = 0.1
"""W-REINFORCE's lambda."""
BASELINE_SHIFT = -0.1
"""AsymRE's delta V in the runs with language models."""


def shares(completions: Completions) -> torch.Tensor:
    """Return the rewards as shares of a right answer, (C,) float64; padding counts as 0.

    Raises:
        ValueError: where one is outside [0, 1].
    """
    found = completions.rewards.to(torch.float64).masked_fill(completions.padding, 0.0)
    outside = (found < 0) | (found > 1)
    if bool(outside.any()):
        raise ValueError(
            f"a completion has the reward {float(found[outside][0])}: psr, nsr, w_reinforce and topr read a reward as "
            "the share of a right answer, so it must be between 0 and 1; scale it, or take another estimator"
        )
    return found


def right(completions: Completions) -> torch.Tensor:
    """Return r, (C,) float64."""
    return shares(completions)


def wrong(completions: Completions) -> torch.Tensor:
    """Return r - 1, (C,) float64."""
    return shares(completions) - 1


def weighted(completions: Completions) -> torch.Tensor:
    """Return 0.1 r + (r - 1), (C,) float64."""
    return POSITIVE_WEIGHT * right(completions) + wrong(completions)


def signed(completions: Completions) -> torch.Tensor:
    """Return 2 r - 1, (C,) float64."""
    return right(completions) + wrong(completions)


def above_a_lowered_mean(completions: Completions) -> torch.Tensor:
    """Return r - (mean(group) - 0.1), (C,) float64."""
    return centred(completions) - BASELINE_SHIFT


def tapered(inputs: LossInputs) -> TokenLoss:
    """Return TOPR's loss of each token: -w A lp.

    w is 1 where A >= 0, and else min(rho, 1) with rho the ratio of the whole row, without a gradient of its own.
    """
    mask = inputs.response_mask
    log_ratio = torch.where(mask, inputs.log_prob.detach() - inputs.old_log_prob, 0.0).sum(-1, keepdim=True)
    taper = torch.where(inputs.advantages < 0, log_ratio.clamp(max=0).exp(), 1.0)
    losing = (inputs.advantages < 0) & mask
    return TokenLoss(
        values=torch.where(mask, -taper * inputs.advantages * inputs.log_prob, 0.0),
        means={"topr/taper": (torch.where(losing, taper, 0.0).sum(), losing.sum())},
    )


def _algorithm(
    name: str,
    plain: Plain,
    averaging: Averaging,
    defaults: Mapping[str, Default],
    losses: Mapping[str, Callable[[LossInputs], TokenLoss]] | None = None,
) -> Algorithm:
    return Algorithm(
        name=name,
        advantages=estimator(plain, averaging),
        losses=losses or {},
        defaults=defaults,
        notes=NOTES,
        check=lambda config: differences(config, defaults),
    )


# The authors' code: PPO's clip, and the mean over all tokens.
_CLIPPED = objective("vanilla", "token-mean", clip_ratio_low=0.2, clip_ratio_high=0.2, clip_ratio_c=NO_DUAL_CLIP)
# The papers' sum over a completion's tokens, divided by the longest completion, which does not depend on the split.
_SUMMED: Mapping[str, Default] = {"loss_scale_factor": 1}

POLARITY = (
    _algorithm("psr", right, over_tokens, _CLIPPED),
    _algorithm("nsr", wrong, over_tokens, _CLIPPED),
    _algorithm("w_reinforce", weighted, over_tokens, _CLIPPED),
    _algorithm("asymre", above_a_lowered_mean, longest_means, objective("gpg", TOKEN_SUM, **_SUMMED)),
    _algorithm("topr", signed, longest_means, objective("topr", TOKEN_SUM, **_SUMMED), {"topr": tapered}),
)
