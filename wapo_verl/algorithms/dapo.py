"""DAPO's loss (arXiv 2503.14476) as WAPO's authors ran it: average over all tokens of a group, then over groups.

A = (r - mean) / (std + 1e-8). Ratios are clipped to [0.8, 1.2]; the paper's own upper clip is `clip_ratio_high=0.28`.
DAPO's dynamic sampling and overlong penalty are veRL's own: `algorithm.filter_groups`, and the reward manager `dapo`.
"""

from wapo_verl.algorithms.algorithm import Algorithm
from wapo_verl.algorithms.averaging import TOKEN_SUM, group_means
from wapo_verl.algorithms.baselines import estimator, standardised
from wapo_verl.algorithms.objective import NO_DUAL_CLIP, NOTES, check_against, objective

DEFAULTS = objective(
    "vanilla", TOKEN_SUM, clip_ratio_low=0.2, clip_ratio_high=0.2, clip_ratio_c=NO_DUAL_CLIP, loss_scale_factor=1
)

ALGORITHM = Algorithm(
    name="dapo",
    advantages=estimator(standardised, group_means),
    losses={},
    defaults=DEFAULTS,
    notes=NOTES,
    check=check_against(DEFAULTS),
)
