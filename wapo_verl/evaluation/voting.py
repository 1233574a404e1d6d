"""Majority@k: the answer that most of k samples give, and whether it is right.

What counts as the same answer is the environment's business and settled before: here an answer is a label. A sample
without an answer does not vote; where nobody votes the question scores 0; equally many votes share the outcome.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt

from wapo_verl.evaluation.arrays import Floats, Integers

NO_ANSWER = -1
_MOST_SUBSETS, _FEWEST_SUBSETS = 5_000, 200
_SUBSETS_AND_QUESTIONS = 2_000_000
_CHUNK = 4_000_000  # vote counts held at once


@dataclass(frozen=True, slots=True)
class Majority:
    """Majority@k of questions.

    Attributes:
        values: (Q,) the share of the subsets of k samples whose majority is right.
        sampling_error: standard error of the values' mean by the draw of subsets; 0 where all subsets were looked at.
    """

    values: Floats
    sampling_error: float


def majority_at_k(votes: Integers, values: Floats, ks: Sequence[int], seed: int = 0) -> dict[int, Majority]:
    """Return majority@k, for each k of `ks`, of questions that have the same number of samples.

    All subsets of k samples are looked at where they are few, else some hundreds or thousands of random ones.

    Args:
        votes: (Q, n) labels of answers, the same within a question for the same answer; `NO_ANSWER` for none.
        values: (Q, n) what each sample scores; an answer scores the mean of the samples that give it.
        ks: each from 1 to n.
        seed: of the random subsets.

    Raises:
        ValueError: for a k out of range.
    """
    questions, n = votes.shape
    for k in ks:
        if not 1 <= k <= n:
            raise ValueError(f"k must be between 1 and the {n} samples of a question, not {k}")
    most = min(_MOST_SUBSETS, max(_FEWEST_SUBSETS, _SUBSETS_AND_QUESTIONS // max(1, questions)))
    subsets = {k: _subsets(n, k, most, seed) for k in ks}
    by_question = {k: np.zeros(questions) for k in ks}
    by_subset = {k: np.zeros(len(subsets[k])) for k in ks}
    rows = max(1, _CHUNK // (n * max(n, *(len(subsets[k]) for k in ks))) if ks else 1)
    for start in range(0, questions, rows):
        chunk = slice(start, start + rows)
        given, worth = _answers(votes[chunk], values[chunk])
        for k in ks:
            outcomes = _outcomes(given, worth, subsets[k])
            by_question[k][chunk] = outcomes.mean(axis=1)
            by_subset[k] += outcomes.sum(axis=0)
    return {
        k: Majority(by_question[k], 0.0 if comb(n, k) <= most else _error_of_mean(by_subset[k] / max(1, questions)))
        for k in ks
    }


def _error_of_mean(values: Floats) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values))


def _subsets(n: int, k: int, most: int, seed: int) -> npt.NDArray[np.float32]:
    """Return which of n samples are in each subset of k, (S, n) of 0 and 1: all subsets, or `most` random ones."""
    if comb(n, k) <= most:
        chosen = np.array(list(combinations(range(n), k)))
    else:
        chosen = np.random.default_rng(seed).random((most, n)).argsort(axis=1)[:, :k]
    members = np.zeros((len(chosen), n), np.float32)
    np.put_along_axis(members, chosen, 1.0, axis=1)
    return members


def _answers(votes: Integers, values: Floats) -> tuple[npt.NDArray[np.float32], Floats]:
    """Return which sample gives which answer and what an answer is worth: (q, n) -> (q, n, answers), (q, answers)."""
    same = (votes[:, :, None] == votes[:, None, :]) & (votes != NO_ANSWER)[:, :, None]
    first = same.argmax(axis=2) == np.arange(votes.shape[1])  # an answer's column is its first sample's
    given = same & first[:, None, :]
    times = given.sum(axis=1)
    worth = np.einsum("qna,qn->qa", given, values) / np.maximum(times, 1)
    # Columns of answers that were given come first, and the rest are cut off.
    order = np.argsort(-times, axis=1, kind="stable")[:, : max(1, int((times > 0).sum(axis=1).max(initial=0)))]
    return (
        np.take_along_axis(given, order[:, None, :], axis=2).astype(np.float32),
        np.take_along_axis(worth, order, axis=1),
    )


def _outcomes(given: npt.NDArray[np.float32], worth: Floats, subsets: npt.NDArray[np.float32]) -> Floats:
    """Return what the majority of each subset scores, (q, S), for (S, n) subsets of the samples."""
    counts = subsets @ given  # (q, S, answers)
    top = counts.max(axis=2, keepdims=True)
    leading = (counts == top) & (top > 0)
    return np.einsum("qsa,qa->qs", leading, worth) / np.maximum(leading.sum(axis=2), 1)
