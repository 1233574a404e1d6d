"""Policy-gradient algorithms as pure functions on tensors. This package needs torch alone.

`ALGORITHMS` is the table of all of them. An algorithm with parts of its own (`wapo`, `cpgd`) is a file; a baseline that
consists of shared parts is a row of the table in `baselines` or `polarity`. To add one, write it and name it here.
`wapo_verl.verl_plugin.algorithms` registers the algorithms with veRL.

Examples:
    The WAPO advantages of one group of four completions, two of which win:

    >>> import torch
    >>> from wapo_verl.algorithms import ALGORITHMS, Batch
    >>> wapo = ALGORITHMS["wapo"]
    >>> batch = Batch(rewards=torch.tensor([1.0, 0.0, 0.0, 1.0]), group_ids=torch.zeros(4, dtype=torch.int64))
    >>> wapo.advantages(batch, wapo.default_options()).rows
    tensor([0.5000, 0.0000, 0.0000, 0.5000], dtype=torch.float64)
"""

from collections.abc import Mapping

from wapo_verl.algorithms.algorithm import Advantages, Algorithm, Conflict, Default, LossInputs, TokenLoss, Value
from wapo_verl.algorithms.baselines import BASELINES
from wapo_verl.algorithms.batch import Batch
from wapo_verl.algorithms.cpgd import CPGD
from wapo_verl.algorithms.polarity import POLARITY
from wapo_verl.algorithms.wapo import WAPO

__all__ = [
    "ALGORITHMS",
    "Advantages",
    "Algorithm",
    "Batch",
    "Conflict",
    "Default",
    "LossInputs",
    "TokenLoss",
    "Value",
    "own_losses",
]

ALGORITHMS: Mapping[str, Algorithm] = {each.name: each for each in (WAPO, CPGD, *BASELINES, *POLARITY)}
"""Name as `algorithm.adv_estimator` -> the algorithm. Every other name is veRL's own, or unknown."""


def own_losses(acts_without_advantage: bool) -> frozenset[str]:
    """Return the names of this project's losses that act, or do not act, on tokens without an advantage."""
    return frozenset(
        name
        for each in ALGORITHMS.values()
        if each.acts_without_advantage is acts_without_advantage
        for name in each.losses
    )
