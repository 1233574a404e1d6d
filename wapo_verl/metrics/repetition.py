"""How much completions repeat themselves: the share of their n-grams that they had already written.

It works on token ids, so it is the same for the completions of any agent loop.
Repetition over several completions is not counted: a group that always writes the same is no degenerate text.
"""

import torch

NGRAM = 4
"""Tokens an n-gram has: short enough to find loops early, long enough that a tag or a name is none."""


def repetition_metrics(responses: torch.Tensor, mask: torch.Tensor) -> dict[str, float]:
    """Return `episode/repetition_rate`, the mean over completions; empty for an empty batch.

    Args:
        responses: as for `repetition_rates`.
        mask: as for `repetition_rates`.
    """
    return {"episode/repetition_rate": float(repetition_rates(responses, mask).mean())} if len(responses) else {}


def repetition_rates(responses: torch.Tensor, mask: torch.Tensor, n: int = NGRAM) -> torch.Tensor:
    """Return 1 - distinct / all n-grams of each completion, 0 for one without an n-gram.

    An n-gram counts where all its tokens are the policy's own and stand together: none reaches over a passage that the
    environment put between two turns.

    Args:
        responses: (R, T) int64 token ids, not negative, padded with anything.
        mask: (R, T), non-zero on the policy's own tokens.
        n: tokens an n-gram has, at least 1.

    Returns:
        (R,) float64 in [0, 1).
    """
    rows, width = responses.shape
    rates = torch.zeros(rows, dtype=torch.float64, device=responses.device)
    if width < n:
        return rates
    counted = mask.bool().unfold(1, n, 1).all(dim=-1)
    row = counted.nonzero()[:, 0]
    if not len(row):
        return rates
    total = torch.bincount(row, minlength=rows)
    distinct = torch.bincount(_rows_of_distinct(row, responses.unfold(1, n, 1)[counted]), minlength=rows)
    return torch.where(total > 0, 1 - distinct / total.clamp(min=1).double(), rates)


def _rows_of_distinct(row: torch.Tensor, ngrams: torch.Tensor) -> torch.Tensor:
    """Tell the row of each distinct pair of a row and an n-gram: (N,) and (N, n), N at least 1 -> (D,) int64.

    A pair gets its number token by token; numbering anew each time keeps the numbers small, so nothing is hashed.
    """
    tokens = int(ngrams.max()) + 1
    number = row
    for token in ngrams.unbind(dim=-1):
        number = torch.unique(number * tokens + token, return_inverse=True)[1]
    return row.new_zeros(int(number.max()) + 1).scatter(0, number, row)
