"""RAFT (arXiv 2504.11343): maximise the likelihood of completions with a positive reward, without ratio or clip.

The loss of their tokens is -lp * r, averaged over each completion's tokens and then over all completions of the batch;
the others count as zeros. This is veRL's loss `gpg`.
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
