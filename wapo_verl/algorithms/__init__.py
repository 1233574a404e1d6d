"""Policy-gradient algorithms, one small file each, as pure functions on tensors.

A module of this folder that defines `ALGORITHM` (an `Algorithm`) is an algorithm with all its parts: the advantages,
the losses, the veRL keys it sets and the settings that contradict it. To add an algorithm, add a file. This package
needs torch alone; `wapo_verl.verl_plugin.algorithms` registers the algorithms with veRL.

Examples:
    The WAPO advantages of one group of four completions, two of which win:

    >>> import torch
    >>> from wapo_verl.algorithms import Batch, algorithm
    >>> wapo = algorithm("wapo")
    >>> batch = Batch(rewards=torch.tensor([1.0, 0.0, 0.0, 1.0]), group_ids=torch.zeros(4, dtype=torch.int64))
    >>> wapo.advantages(batch, wapo.default_options()).rows
    tensor([0.5000, 0.0000, 0.0000, 0.5000], dtype=torch.float64)
"""

from wapo_verl.algorithms.algorithm import Advantages, Algorithm, Default, Finding, LossInputs, TokenLoss, Value
from wapo_verl.algorithms.batch import Batch
from wapo_verl.algorithms.registry import algorithm, algorithms, own_losses

__all__ = [
    "Advantages",
    "Algorithm",
    "Batch",
    "Default",
    "Finding",
    "LossInputs",
    "TokenLoss",
    "Value",
    "algorithm",
    "algorithms",
    "own_losses",
]
