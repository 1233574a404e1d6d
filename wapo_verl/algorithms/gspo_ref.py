"""GSPO (arXiv 2507.18071) as WAPO's authors ran it: one ratio per completion, the geometric mean of its tokens' ratios.

A = (r - mean) / (std + 1e-8). The loss is veRL's own `gspo`: a token's gradient is the completion's ratio times the
gradient of its log-probability; averaged over the completion's tokens, this is the gradient of the completion's ratio.
The clip is the GSPO paper's, 3e-4 and 4e-4: a geometric mean moves far less than the ratio of one token.
"""

from wapo_verl.algorithms.algorithm import Algorithm
from wapo_verl.algorithms.averaging import TOKEN_MEAN, completion_means
from wapo_verl.algorithms.baselines import estimator, standardised
from wapo_verl.algorithms.objective import NOTES, check_against, objective

DEFAULTS = objective("gspo", TOKEN_MEAN, clip_ratio_low=3e-4, clip_ratio_high=4e-4)

ALGORITHM = Algorithm(
    name="gspo_ref",
    advantages=estimator(standardised, completion_means),
    losses={},
    defaults=DEFAULTS,
    notes=NOTES,
    check=check_against(DEFAULTS),
)
