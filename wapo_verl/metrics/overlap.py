"""How much the completions of one group have in common, as metrics of a training batch."""

from collections.abc import Sequence

import torch

from wapo_verl.algorithms import Batch
from wapo_verl.algorithms.groups import group_advantages
from wapo_verl.taxonomy.overlap import group_overlap


def overlap_metrics(
    keys: Sequence[str], responses: torch.Tensor, mask: torch.Tensor, rewards: torch.Tensor
) -> dict[str, float]:
    """Return `taxonomy/overlap/...` (see `wapo_verl.taxonomy.overlap`); a kind of pair that is not there is left out.

    Args:
        keys: R keys, as veRL's V1 trainer stores rows under.
        responses: (R, T) int64, padded.
        mask: (R, T), true or 1 on tokens the policy wrote.
        rewards: (R,) float; a completion above its group's mean is a winner, one below it a loser.
    """
    batch = Batch.from_keys(keys, rewards)
    completions = batch.completions()
    advantages = group_advantages(completions.rewards, completions.groups)[completions.of_row]
    sums = group_overlap(responses, mask.bool(), batch.group_ids, advantages)
    return {name: float(total) / float(pairs) for name, (total, pairs) in sums.items() if pairs > 0}
