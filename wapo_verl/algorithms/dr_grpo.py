"""Dr. GRPO (arXiv 2503.20783) as WAPO's authors ran it: A = r - mean, and one divisor for all tokens.

The sum over all tokens is divided by N times the batch's longest completion, so a token's weight depends neither on its
completion's length nor on its group's spread. The loss is veRL's own, clipped on both sides.
"""

from wapo_verl.algorithms.algorithm import Algorithm
from wapo_verl.algorithms.averaging import TOKEN_SUM, longest_means
from wapo_verl.algorithms.baselines import centred, estimator
from wapo_verl.algorithms.objective import NO_DUAL_CLIP, NOTES, check_against, objective

DEFAULTS = objective(
    "vanilla", TOKEN_SUM, clip_ratio_low=0.2, clip_ratio_high=0.2, clip_ratio_c=NO_DUAL_CLIP, loss_scale_factor=1
)

ALGORITHM = Algorithm(
    name="dr_grpo",
    advantages=estimator(centred, longest_means),
    losses={},
    defaults=DEFAULTS,
    notes=NOTES,
    check=check_against(DEFAULTS),
)
