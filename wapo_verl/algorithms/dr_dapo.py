"""DAPO's clip and average with Dr. GRPO's advantage A = r - mean, as WAPO's authors ran it."""

from wapo_verl.algorithms.algorithm import Algorithm
from wapo_verl.algorithms.averaging import TOKEN_SUM, group_means
from wapo_verl.algorithms.baselines import centred, estimator
from wapo_verl.algorithms.objective import NO_DUAL_CLIP, NOTES, check_against, objective

DEFAULTS = objective(
    "vanilla", TOKEN_SUM, clip_ratio_low=0.2, clip_ratio_high=0.2, clip_ratio_c=NO_DUAL_CLIP, loss_scale_factor=1
)

ALGORITHM = Algorithm(
    name="dr_dapo",
    advantages=estimator(centred, group_means),
    losses={},
    defaults=DEFAULTS,
    notes=NOTES,
    check=check_against(DEFAULTS),
)
