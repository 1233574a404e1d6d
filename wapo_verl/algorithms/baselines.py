"""The advantages of the baselines: the reward itself, minus its group's mean, or that divided by the spread."""

from collections.abc import Callable, Mapping

import torch

from wapo_verl.algorithms.algorithm import Advantages
from wapo_verl.algorithms.batch import Batch, Completions
from wapo_verl.algorithms.groups import group_advantages, group_metrics, group_std

STD_FLOOR = 1e-8
"""What is added to a group's standard deviation."""

Plain = Callable[[Completions], torch.Tensor]
Averaging = Callable[[torch.Tensor, Batch, Completions], torch.Tensor]


def centred(completions: Completions) -> torch.Tensor:
    """Return r - mean(group), (C,) float64."""
    return group_advantages(completions.rewards, completions.groups)


def standardised(completions: Completions) -> torch.Tensor:
    """Return (r - mean(group)) / (std(group) + 1e-8), the population's standard deviation, (C,) float64."""
    spread = group_std(completions.rewards, completions.groups, correction=0)
    return centred(completions) / (spread + STD_FLOOR)


def positive_reward(completions: Completions) -> torch.Tensor:
    """Return r where r > 0 and 0 elsewhere, (C,) float64: RAFT's selection."""
    return completions.rewards.to(torch.float64).clamp(min=0)


def estimator(plain: Plain, averaging: Averaging) -> Callable[[Batch, Mapping[str, str]], Advantages]:
    """Make an algorithm's `advantages` of what one completion's advantage is and how tokens are averaged."""

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
