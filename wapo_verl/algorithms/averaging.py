"""Turn averages over completions, groups and lengths into factors of the advantages.

Two averages of veRL's `agg_loss` do not depend on how a batch is split into mini-batches, micro-batches and ranks: the
mean over the M rows of a mini-batch of each row's sum (`seq-mean-token-sum-norm`) or mean (`seq-mean-token-mean`) over
its tokens. The formulas multiply each of k mini-batches by k, and M * k = R, the number of rows of the whole batch,
padding included. So where a formula gives a token the weight w, the advantage A * w * R gives it that weight under
veRL's average, for every M and k.
"""

import torch

from wapo_verl.algorithms.batch import Batch, Completions
from wapo_verl.algorithms.groups import group_any, group_sum

TOKEN_MEAN = "seq-mean-token-mean"
"""veRL's average for `completion_means`."""
TOKEN_SUM = "seq-mean-token-sum-norm"
"""veRL's average for `group_means` and `longest_means`, with `loss_scale_factor=1`."""


def to_rows(values: torch.Tensor, completions: Completions) -> torch.Tensor:
    """Give each row the value of its completion, and padding rows zero: (C,) -> (R,)."""
    return torch.where(completions.real, values, 0)[completions.of_row]


def completion_means(plain: torch.Tensor, batch: Batch, completions: Completions) -> torch.Tensor:
    """Average over each completion's tokens, then over completions (GRPO, arXiv 2402.03300, eq. 3).

    Args:
        plain: (C,) float64, each completion's advantage A.
        batch: the batch of R rows.
        completions: its C completions, N of which are not padding.

    Returns:
        (R,) float64: A * R / N, for veRL's average `TOKEN_MEAN`. Where a completion has several rows, each row's value
        is multiplied by its share of the completion's tokens.
    """
    rows = to_rows(plain, completions) * len(batch.rewards) / max(int(completions.real.sum()), 1)
    if batch.lengths is None or completions.lengths is None:
        return rows
    return rows * batch.lengths / completions.lengths[completions.of_row].clamp(min=1)


def group_means(plain: torch.Tensor, batch: Batch, completions: Completions) -> torch.Tensor:
    """Average over all tokens of a group, then over groups (DAPO, arXiv 2503.14476, eq. 8).

    Args:
        plain: (C,) float64, each completion's advantage A.
        batch: the batch of R rows, with `lengths`.
        completions: its C completions, in K groups that are not padding.

    Returns:
        (R,) float64: A * R / (K * tokens of the group), for veRL's average `TOKEN_SUM`.

    Raises:
        ValueError: where the batch has no lengths.
    """
    groups = completions.groups
    tokens = group_sum(torch.where(completions.real, completions.counted_lengths(), 0), groups)[groups].clamp(min=1)
    count = max(int(group_any(completions.real, groups).sum()), 1)
    return to_rows(plain / tokens, completions) * len(batch.rewards) / count


def longest_means(plain: torch.Tensor, batch: Batch, completions: Completions) -> torch.Tensor:
    """Divide the sum over all tokens by the number of completions times the longest completion's tokens.

    Dr. GRPO (arXiv 2503.20783) divides by a constant length; WAPO's authors use the batch's longest completion.

    Args:
        plain: (C,) float64, each completion's advantage A.
        batch: the batch of R rows, with `lengths`.
        completions: its C completions, N of which are not padding.

    Returns:
        (R,) float64: A * R / (N * longest), for veRL's average `TOKEN_SUM`.

    Raises:
        ValueError: where the batch has no lengths.
    """
    longest = int(torch.where(completions.real, completions.counted_lengths(), 0).max())
    scale = len(batch.rewards) / (max(int(completions.real.sum()), 1) * max(longest, 1))
    return to_rows(plain, completions) * scale
