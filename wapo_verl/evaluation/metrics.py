"""What each question comes to, by metric: the values that means, intervals and comparisons are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wapo_verl.evaluation.arrays import Floats, Integers
from wapo_verl.evaluation.attempts import pass_all_k, pass_at_k
from wapo_verl.evaluation.paired import Side
from wapo_verl.evaluation.samples import Samples
from wapo_verl.evaluation.voting import NO_ANSWER, Majority, majority_at_k

MEAN, NO_ANSWER_SHARE = "mean", "no answer"


@dataclass(frozen=True, slots=True, eq=False)
class QuestionValues:
    """A value a question for each metric.

    Attributes:
        samples: (Q,) how many samples each question has.
        values: metric -> (Q,), NaN for a question that has none. `mean`, `pass@k`, `pass^k`, `maj@k`, `no answer`,
            and the means of turns, searches and tokens.
        variances: (Q,) variance of each question's samples; NaN where it has fewer than two.
        sampling_errors: metric -> standard error by a draw of subsets, for each `maj@k`; 0 where all were looked at.
    """

    samples: Integers
    values: dict[str, Floats]
    variances: Floats
    sampling_errors: dict[str, float]

    def side(self, metric: str) -> Side:
        """Return a metric as one side of a comparison; only for `mean` is the samples' variance known."""
        variances = self.variances if metric == MEAN else np.full(len(self.samples), math.nan)
        return Side(self.values[metric], variances, self.samples)


def question_values(
    samples: Samples, metric: str, ks: Sequence[int], voting_ks: Sequence[int] | None = None
) -> QuestionValues:
    """Compute every metric of every question.

    Args:
        samples: the samples that count.
        metric: which score is looked at.
        ks: for pass@k and pass^k, which are there where the score is 0 or 1 everywhere.
        voting_ks: for maj@k, which is there where answers are known; `ks` where it is None.

    Raises:
        ValueError: for a metric that the samples do not have.
    """
    if metric not in samples.scores:
        raise ValueError(
            f"{samples.data_source or 'the file'} has no score {metric!r}; its scores are {', '.join(samples.scores)}"
        )
    scores, question, counts = samples.scores[metric], samples.question, samples.counts()
    means = _means(question, scores, counts)
    values = {MEAN: means}
    errors: dict[str, float] = {}
    if is_binary(scores):
        right = np.bincount(question, scores, len(counts)).round().astype(np.int64)
        for k in ks:
            values[f"pass@{k}"] = pass_at_k(counts, right, k)
            values[f"pass^{k}"] = pass_all_k(counts, right, k)
    if samples.votes is not None:
        voted = _majorities(samples.votes, scores, counts, ks if voting_ks is None else voting_ks)
        values |= {f"maj@{k}": found.values for k, found in voted.items()}
        errors |= {f"maj@{k}": found.sampling_error for k, found in voted.items()}
        values[NO_ANSWER_SHARE] = _means(question, (samples.votes == NO_ANSWER).astype(np.float64), counts)
    values |= {name: _means(question, column, counts) for name, column in samples.sizes.items()}
    off = np.bincount(question, (scores - means[question]) ** 2, len(counts))
    with np.errstate(invalid="ignore", divide="ignore"):
        variances = np.where(counts > 1, off / (counts - 1), math.nan)
    return QuestionValues(counts, values, variances, errors)


def is_binary(scores: Floats) -> bool:
    """Tell whether all scores are 0 or 1."""
    return bool(np.isin(scores, (0.0, 1.0)).all())


def pooled(parts: Sequence[QuestionValues]) -> QuestionValues:
    """Return the questions of several data sources as those of one, with the metrics that all have."""
    samples = np.concatenate([part.samples for part in parts])
    shared = [name for name in parts[0].values if all(name in part.values for part in parts)]
    shares = [len(part.samples) / len(samples) for part in parts]
    return QuestionValues(
        samples=samples,
        values={name: np.concatenate([part.values[name] for part in parts]) for name in shared},
        variances=np.concatenate([part.variances for part in parts]),
        sampling_errors={
            name: math.hypot(*(share * part.sampling_errors[name] for share, part in zip(shares, parts, strict=True)))
            for name in parts[0].sampling_errors
            if name in shared
        },
    )


def _means(question: Integers, column: Floats, counts: Integers) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.bincount(question, column, len(counts)) / counts


def _majorities(votes: Integers, scores: Floats, counts: Integers, ks: Sequence[int]) -> dict[int, Majority]:
    """Return maj@k of each question; questions of one number of samples go together."""
    values = {k: np.full(len(counts), math.nan) for k in ks}
    squared = dict.fromkeys(ks, 0.0)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    for n in np.unique(counts[counts > 0]):
        chosen = np.flatnonzero(counts == n)
        places = starts[chosen][:, None] + np.arange(n)
        for k, found in majority_at_k(votes[places], scores[places], [k for k in ks if k <= n]).items():
            values[k][chosen] = found.values
            squared[k] += (found.sampling_error * len(chosen) / (counts >= k).sum()) ** 2
    return {k: Majority(values[k], math.sqrt(squared[k])) for k in ks}
