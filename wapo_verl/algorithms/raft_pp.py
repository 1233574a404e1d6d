"""RAFT++ (arXiv 2504.11343): RAFT with token ratios that are clipped above.

The advantage of a completion is its reward, where that is positive. As no advantage is negative, the two-sided clip of
veRL's own loss acts above 1 + eps alone.
"""

from wapo_verl.algorithms.algorithm import Algorithm
from wapo_verl.algorithms.averaging import TOKEN_MEAN, completion_means
from wapo_verl.algorithms.baselines import estimator, positive_reward
from wapo_verl.algorithms.objective import NO_DUAL_CLIP, NOTES, check_against, objective

DEFAULTS = objective("vanilla", TOKEN_MEAN, clip_ratio_low=0.2, clip_ratio_high=0.2, clip_ratio_c=NO_DUAL_CLIP)

ALGORITHM = Algorithm(
    name="raft_pp",
    advantages=estimator(positive_reward, completion_means),
    losses={},
    defaults=DEFAULTS,
    notes=NOTES,
    check=check_against(DEFAULTS),
)
