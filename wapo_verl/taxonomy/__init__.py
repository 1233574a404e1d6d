"""The token taxonomy: what a policy-gradient step does to the next-token distribution, as pure functions on tensors.

Torch only. `statistics` reads what is needed from the logits, `bins` sorts tokens and weights them, `theory` says
what a step does, `diagnostics` sums up what is logged, `overlap` compares completions of one group.
"""

from wapo_verl.taxonomy.bins import BINS, NO_BIN, assign_bins, bin_weights, resolve_bins, token_weights
from wapo_verl.taxonomy.diagnostics import Diagnostics, Tokens, diagnose
from wapo_verl.taxonomy.overlap import group_overlap
from wapo_verl.taxonomy.statistics import Statistics, token_statistics
from wapo_verl.taxonomy.theory import entropy_change, entropy_change_from_statistics

__all__ = [
    "BINS",
    "NO_BIN",
    "Diagnostics",
    "Statistics",
    "Tokens",
    "assign_bins",
    "bin_weights",
    "diagnose",
    "entropy_change",
    "entropy_change_from_statistics",
    "group_overlap",
    "resolve_bins",
    "token_statistics",
    "token_weights",
]
