"""RAFT (arXiv 2504.11343): maximum likelihood of the completions with a positive reward, no ratio and no clip.

The loss is -lp * r on them, token mean per completion, mean over all completions of the batch, the others' zeros
included. veRL's `gpg` loss is just that.
"""

from wapo_verl.algorithms.algorithm import Algorithm
from wapo_verl.algorithms.averaging import TOKEN_MEAN, completion_means
from wapo_verl.algorithms.baselines import estimator, positive_reward
from wapo_verl.algorithms.objective import NOTES, check_against, objective

DEFAULTS = objective("gpg", TOKEN_MEAN)

ALGORITHM = Algorithm(
    name="raft",
    advantages=estimator(positive_reward, completion_means),
    losses={},
    defaults=DEFAULTS,
    notes=NOTES,
    check=check_against(DEFAULTS),
)
