"""Turn averages over completions, groups and lengths into factors of the advantages.

Two averages of veRL's `agg_loss` do not depend on how a batch is split into mini-batches, micro-batches and ranks: the
mean over the M rows of a mini-batch of each row's sum (`seq-mean-token-sum-norm`) or mean (`seq-mean-token-mean`) over
its tokens. The formulas multiply each of k mini-batches by k, and M * k = R, the number of rows of the whole batch,
padding included. So where a formula gives a token the weight w, the advantage A * w * R gives it that weight under
veRL's average, for every M and k.
"""

from collections.abc import Callable, Mapping

import torch

from wapo_verl.algorithms.batch import Batch, Completions
from wapo_verl.algorithms.groups import group_any, group_sum

TOKEN_MEAN = "seq-mean-token-mean"
"""veRL's average for `completion_means`."""
TOKEN_SUM = "seq-mean-token-sum-norm"
"""veRL's average for `group_means` and `longest_means`, with `loss_scale_factor=1`."""

Averaging = Callable[[torch.Tensor, Batch, Completions], torch.Tensor]

AVERAGING: Mapping[str, tuple[str, ...]] = {"averaging": ("own", "kept_tokens")}
"""The option `+wapo.averaging`: the algorithm's own average over tokens, or 1 / (kept tokens of the completion) each.

`kept_tokens` is `normalize_by_kept_tokens` of WAPO's authors, whose micro-batches never hold two completions of a
group. Which tokens are kept the engine knows, so it divides by their number (`wapo_verl.engine.planned_loss`), and the
advantages have the average's other factors alone.
"""


def to_rows(values: torch.Tensor, completions: Completions) -> torch.Tensor:
    """Give each row the value of its completion, and padding rows zero: (C,) -> (R,)."""
    return torch.where(completions.real, values, 0)[completions.of_row]


def over_tokens(values: torch.Tensor, batch: Batch, completions: Completions) -> torch.Tensor:
    """Give rows what veRL's `token-mean` needs, which is the advantages as they are: (C,) -> (R,)."""
    return to_rows(values, completions)


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
    return shared(plain, batch, completions, int(completions.real.sum()))


def chosen_means(plain: torch.Tensor, batch: Batch, completions: Completions) -> torch.Tensor:
    """Average over each completion's tokens, then over the completions with A > 0 alone (RAFT, arXiv 2504.11343).

    Args:
        plain: (C,) float64, each completion's advantage A, none below 0.
        batch: the batch of R rows.
        completions: its C completions.

    Returns:
        (R,) float64: A * R / (completions with A > 0), for veRL's average `TOKEN_MEAN`, shared among a completion's
        rows as in `completion_means`.
    """
    return shared(plain, batch, completions, int(((plain > 0) & completions.real).sum()))


def group_shares(plain: torch.Tensor, batch: Batch, completions: Completions) -> torch.Tensor:
    """Divide by the number of groups alone, where the engine divides by kept tokens.

    Args:
        plain: (C,) float64, each completion's advantage A.
        batch: the batch of R rows.
        completions: its C completions, in K groups that are not padding.

    Returns:
        (R,) float64: A * R / K, shared among a completion's rows as in `completion_means`.
    """
    return shared(plain, batch, completions, int(group_any(completions.real, completions.groups).sum()))


def shared(plain: torch.Tensor, batch: Batch, completions: Completions, count: int) -> torch.Tensor:
    """Return A * R / count of each row, times the row's share of its completion's tokens."""
    rows = to_rows(plain, completions) * len(batch.rewards) / max(count, 1)
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
