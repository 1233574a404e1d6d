"""GRPO (arXiv 2402.03300) as WAPO's authors ran it: clipped on both sides, averaged over each completion's tokens.

A = (r - mean) / (std + 1e-8) with the population's standard deviation; veRL's own `grpo` has the sample's, and 1e-6.
The loss is veRL's own, without its dual clip.
"""

from wapo_verl.algorithms.algorithm import Algorithm
from wapo_verl.algorithms.averaging import TOKEN_MEAN, completion_means
from wapo_verl.algorithms.baselines import estimator, standardised
from wapo_verl.algorithms.objective import NO_DUAL_CLIP, NOTES, check_against, objective

DEFAULTS = objective("vanilla", TOKEN_MEAN, clip_ratio_low=0.2, clip_ratio_high=0.2, clip_ratio_c=NO_DUAL_CLIP)

ALGORITHM = Algorithm(
    name="grpo_ref",
    advantages=estimator(standardised, completion_means),
    losses={},
    defaults=DEFAULTS,
    notes=NOTES,
    check=check_against(DEFAULTS),
)
