"""How much the completions of one group have in common, as metrics of a training batch."""

from collections.abc import Sequence

import torch

from wapo_verl.algorithms import Batch
from wapo_verl.taxonomy.overlap import group_overlap


def overlap_metrics(
    keys: Sequence[str], responses: torch.Tensor, mask: torch.Tensor, advantages: torch.Tensor
) -> dict[str, float]:
    """Return `taxonomy/overlap/...` (see `wapo_verl.taxonomy.overlap`); a kind of pair that is not there is left out.

    Args:
        keys: R keys, as veRL's V1 trainer stores rows under.
        responses: (R, T) int64, padded.
        mask: (R, T), true or 1 on tokens the policy wrote.
        advantages: (R, T) float; a row whose sum is above 0 is a winner's.
    """
    summed = advantages.sum(dim=-1)
    groups = Batch.from_keys(keys, torch.zeros_like(summed)).group_ids
    sums = group_overlap(responses, mask.bool(), groups, summed > 0)
    return {name: float(total) / float(pairs) for name, (total, pairs) in sums.items() if pairs > 0}
