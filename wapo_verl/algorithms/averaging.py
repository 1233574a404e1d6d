"""Averages over completions, groups and lengths, as factors of the advantages.

veRL's `agg_loss` knows two averages that survive every split into mini-batches, micro-batches and ranks: the rows of a
mini-batch, M of them, each summed (`seq-mean-token-sum-norm`) or averaged (`seq-mean-token-mean`) over its tokens.
With k mini-batches, each multiplied by k as the formulas have it, M * k is R, the rows of the whole batch, padding
included. So a formula's weight of a completion's token, w, is had by an advantage of A * w * R, which needs neither M
nor k.
"""

import torch

from wapo_verl.algorithms.batch import Batch, Completions
from wapo_verl.algorithms.groups import group_any, group_sum

TOKEN_MEAN = "seq-mean-token-mean"
"""veRL's average for `completion_means`."""
TOKEN_SUM = "seq-mean-token-sum-norm"
"""veRL's average for `group_means` and `longest_means`, with `loss_scale_factor=1`."""


def to_rows(values: torch.Tensor, completions: Completions) -> torch.Tensor:
    """Give each row its completion's value, padding rows zero: (C,) -> (R,)."""
    return torch.where(completions.real, values, 0)[completions.of_row]


def completion_means(plain: torch.Tensor, batch: Batch, completions: Completions) -> torch.Tensor:
    """Fold the mean over completions of each one's mean over its tokens (GRPO, arXiv 2402.03300, eq. 3).

    Args:
        plain: (C,) float64 advantages.

    Returns:
        (R,) float64: A * R / N, N completions that are not padding, for `TOKEN_MEAN`. A completion of several rows has
        each row's share of its tokens in it.
    """
    rows = to_rows(plain, completions) * len(batch.rewards) / max(int(completions.real.sum()), 1)
    if batch.lengths is None or completions.lengths is None:
        return rows
    return rows * batch.lengths / completions.lengths[completions.of_row].clamp(min=1)


def group_means(plain: torch.Tensor, batch: Batch, completions: Completions) -> torch.Tensor:
    """Fold the mean over groups of each one's mean over all its tokens (DAPO, arXiv 2503.14476, eq. 8).

    Args:
        plain: (C,) float64 advantages.

    Returns:
        (R,) float64: A * R / (K * tokens of the group), K groups that are not padding, for `TOKEN_SUM`.

    Raises:
        ValueError: where the batch has no lengths.
    """
    groups = completions.groups
    tokens = group_sum(torch.where(completions.real, completions.counted_lengths(), 0), groups)[groups].clamp(min=1)
    count = max(int(group_any(completions.real, groups).sum()), 1)
    return to_rows(plain / tokens, completions) * len(batch.rewards) / count


def longest_means(plain: torch.Tensor, batch: Batch, completions: Completions) -> torch.Tensor:
    """Fold the sum over all tokens divided by N times the batch's longest completion.

    Dr. GRPO (arXiv 2503.20783) divides by a constant; WAPO's authors take the longest completion for it.

    Args:
        plain: (C,) float64 advantages.

    Returns:
        (R,) float64: A * R / (N * longest), N completions that are not padding, for `TOKEN_SUM`.

    Raises:
        ValueError: where the batch has no lengths.
    """
    longest = int(torch.where(completions.real, completions.counted_lengths(), 0).max())
    scale = len(batch.rewards) / (max(int(completions.real.sum()), 1) * max(longest, 1))
    return to_rows(plain, completions) * scale
