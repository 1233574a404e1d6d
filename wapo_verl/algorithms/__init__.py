"""Policy-gradient algorithms: one small file each, found by scanning this folder.

A module here that defines `ALGORITHM` (an `Algorithm`) is an algorithm, with all its parts: advantages, losses, the
veRL keys it resolves, the settings it contradicts. Adding one is adding a file. Everything is pure functions on
tensors; veRL is imported inside `verl_bridge`'s functions only, so this package itself needs torch alone.
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
