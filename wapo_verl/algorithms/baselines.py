"""Compute the baselines' advantages: the reward, the reward minus its group's mean, or that divided by the spread."""

from collections.abc import Callable, Mapping

import torch

from wapo_verl.algorithms.algorithm import Advantages
from wapo_verl.algorithms.batch import Batch, Completions
from wapo_verl.algorithms.groups import group_advantages, group_metrics, group_std

STD_FLOOR = 1e-8
"""Added to a group's standard deviation before dividing by it."""

Plain = Callable[[Completions], torch.Tensor]
Averaging = Callable[[torch.Tensor, Batch, Completions], torch.Tensor]


def centred(completions: Completions) -> torch.Tensor:
    """Return r - mean(group), (C,) float64."""
    return group_advantages(completions.rewards, completions.groups)


def standardised(completions: Completions) -> torch.Tensor:
    """Return (r - mean(group)) / (std(group) + 1e-8), (C,) float64; std is the population's (divided by G)."""
    spread = group_std(completions.rewards, completions.groups, correction=0)
    return centred(completions) / (spread + STD_FLOOR)


def positive_reward(completions: Completions) -> torch.Tensor:
    """Return r where r > 0 and 0 elsewhere, (C,) float64: RAFT's selection."""
    return completions.rewards.to(torch.float64).clamp(min=0)


def estimator(plain: Plain, averaging: Averaging) -> Callable[[Batch, Mapping[str, str]], Advantages]:
    """Make an algorithm's `advantages` function.

    Args:
        plain: completions -> (C,) float64, each completion's advantage.
        averaging: a function of `wapo_verl.algorithms.averaging`, which gives rows their factors.

    Returns:
        A function for `Algorithm.advantages`.
    """

    def advantages(batch: Batch, options: Mapping[str, str]) -> Advantages:
        completions = batch.completions()
        found = plain(completions)
        won = (found > 0) & completions.real
        return Advantages(
            rows=averaging(found, batch, completions),
            winners=won[completions.of_row],
            metrics=group_metrics(centred(completions), won, completions.groups, completions.real),
        )

    return advantages
