"""The token taxonomy: what a policy-gradient step does to the next-token distribution, as pure functions on tensors.

`statistics` computes sums over the vocabulary from the logits, `bins` sorts tokens into bins and gives them weights,
`theory` computes what a step changes, `diagnostics` computes the logged metrics, and `overlap` compares the completions
of one group. This package needs torch alone.
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
