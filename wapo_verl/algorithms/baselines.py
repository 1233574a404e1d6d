"""Define the baselines: each is an advantage, an average over tokens and one of veRL's losses, a row of `BASELINES`.

All but GSPO's are as WAPO's authors ran them. Every row is held to its formula by
`tests/wapo_verl/algorithms/test_baseline_gradients.py`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from wapo_verl.algorithms.algorithm import Advantages, Algorithm, Conflict, Default, errors
from wapo_verl.algorithms.averaging import (
    AVERAGING,
    TOKEN_MEAN,
    TOKEN_SUM,
    Averaging,
    chosen_means,
    completion_means,
    group_means,
    group_shares,
    longest_means,
)
from wapo_verl.algorithms.batch import Batch, Completions
from wapo_verl.algorithms.groups import group_advantages, group_metrics, group_std
from wapo_verl.algorithms.objective import NO_DUAL_CLIP, NOTES, differences, objective

STD_FLOOR = 1e-8
"""Added to a group's standard deviation before dividing by it."""

Plain = Callable[[Completions], torch.Tensor]


def centred(completions: Completions) -> torch.Tensor:
    """Return r - mean(group), (C,) float64."""
    return group_advantages(completions.rewards, completions.groups)


def standardised(completions: Completions) -> torch.Tensor:
    """Return (r - mean(group)) / (std(group) + 1e-8), (C,) float64; std is the population's (divided by G)."""
    spread = group_std(completions.rewards, completions.groups, correction=0)
    return centred(completions) / (spread + STD_FLOOR)


def positive_reward(completions: Completions) -> torch.Tensor:
    """Return r where r > 0 and 0 elsewhere, (C,) float64: RAFT++'s advantage."""
    return completions.rewards.to(torch.float64).clamp(min=0)


def chosen(completions: Completions) -> torch.Tensor:
    """Return 1 where r > 0 and 0 elsewhere, (C,) float64: RAFT's selection, whatever the size of the reward."""
    return (completions.rewards > 0).to(torch.float64)


def estimator(
    plain: Plain, averaging: Averaging, kept: Averaging | None = None
) -> Callable[[Batch, Mapping[str, str]], Advantages]:
    """Make an algorithm's `advantages` function.

    Args:
        plain: completions -> (C,) float64, each completion's advantage.
        averaging: a function of `wapo_verl.algorithms.averaging`, which gives rows their factors.
        kept: the same for `+wapo.averaging=kept_tokens`; None where the algorithm has no such option.

    Returns:
        A function for `Algorithm.advantages`.
    """

    def advantages(batch: Batch, options: Mapping[str, str]) -> Advantages:
        completions = batch.completions()
        found = completions.gated(plain(completions))
        # NSR reinforces nobody: there those win that are not punished while others of their group are.
        won = ((found > 0) | (group_advantages(found, completions.groups) > 0)) & completions.real
        average = kept if kept is not None and options["averaging"] == "kept_tokens" else averaging
        return Advantages(
            rows=average(found, batch, completions),
            winners=won[completions.of_row],
            metrics=group_metrics(completions.rewards, won, completions.groups, completions.real),
        )

    return advantages


def _baseline(
    name: str,
    plain: Plain,
    averaging: Averaging,
    kept: Averaging,
    loss: str,
    mean: str,
    **actor: Default,
) -> Algorithm:
    defaults = objective(loss, mean, **actor)
    return Algorithm(
        name=name,
        advantages=estimator(plain, averaging, kept),
        losses={},
        defaults=defaults,
        notes=NOTES,
        options=AVERAGING,
        check=lambda config: [*differences(config, defaults), *_unread(plain, config)],
    )


def _unread(plain: Plain, config: Any) -> list[Conflict]:
    """Find veRL's switch of the division by the standard deviation, turned off where the algorithm is that division."""
    off = not config.algorithm.get("norm_adv_by_std_in_grpo", True)
    message = "the algorithm divides by the group's standard deviation all the same; dr_grpo and dr_dapo do not"
    return errors((off and plain is standardised, "algorithm.norm_adv_by_std_in_grpo=False", message))


_PPO_CLIP: Mapping[str, Default] = {"clip_ratio_low": 0.2, "clip_ratio_high": 0.2, "clip_ratio_c": NO_DUAL_CLIP}
_GSPO_CLIP: Mapping[str, Default] = {"clip_ratio_low": 3e-4, "clip_ratio_high": 4e-4}
_NO_LENGTH: Mapping[str, Default] = {"loss_scale_factor": 1}

BASELINES = (
    # GRPO (arXiv 2402.03300). veRL's own `grpo` has the sample's standard deviation and 1e-6.
    _baseline("grpo_ref", standardised, completion_means, completion_means, "vanilla", TOKEN_MEAN, **_PPO_CLIP),
    # Dr. GRPO (arXiv 2503.20783): neither a completion's length nor its group's spread changes a token's weight.
    _baseline("dr_grpo", centred, longest_means, completion_means, "vanilla", TOKEN_SUM, **_PPO_CLIP, **_NO_LENGTH),
    # DAPO (arXiv 2503.14476), its loss alone; the paper's own upper clip is 0.28. Dynamic sampling and the overlong
    # penalty are veRL's (`algorithm.filter_groups`, reward manager `dapo`).
    _baseline("dapo", standardised, group_means, group_shares, "vanilla", TOKEN_SUM, **_PPO_CLIP, **_NO_LENGTH),
    # DAPO's clip and average with Dr. GRPO's advantage.
    _baseline("dr_dapo", centred, group_means, group_shares, "vanilla", TOKEN_SUM, **_PPO_CLIP, **_NO_LENGTH),
    # GSPO (arXiv 2507.18071), one ratio a completion, the geometric mean of its tokens'. The clip is the paper's: a
    # geometric mean moves by far less than one token's ratio.
    _baseline("gspo_ref", standardised, completion_means, completion_means, "gspo", TOKEN_MEAN, **_GSPO_CLIP),
    # RAFT (arXiv 2504.11343): maximum likelihood of the completions with a positive reward, averaged over these alone;
    # no ratio, no clip, no weight.
    _baseline("raft", chosen, chosen_means, chosen_means, "gpg", TOKEN_MEAN),
    # RAFT++ (same paper): token ratios, each completion weighted by its reward, averaged over those that have one. No
    # advantage is negative, so the two-sided clip acts above 1 + eps.
    _baseline("raft_pp", positive_reward, chosen_means, chosen_means, "vanilla", TOKEN_MEAN, **_PPO_CLIP),
)
