"""The samples of an evaluation as columns: what every statistic is computed from."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from wapo_verl.evaluation.arrays import Floats, Integers
from wapo_verl.evaluation.records import SIZES, Line
from wapo_verl.evaluation.voting import NO_ANSWER

SCORE = "score"
"""The name of the reward among the scores; the others are its parts."""

NOT_FAILED = -1


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """The samples of one data source, S of Q questions, ordered by question and sample number.

    Attributes:
        data_source: the environment's name; "" where a file does not say.
        question_ids: the questions' ids, sorted.
        rows: for each question the hash of what was asked and what counts as right.
        question: (S,) which question a sample answers, a place in `question_ids`.
        scores: name -> (S,) what the samples score; NaN for a sample that failed before it was scored.
        failure: (S,) why a sample failed, a place in `failures`; `NOT_FAILED` where it did not.
        failures: the reasons.
        votes: (S,) labels of answers, the same within a question for the same answer, `NO_ANSWER` for none; None where
            nothing is known of answers.
        sizes: turns, searches and tokens -> (S,); {} where nothing is known of them.
    """

    data_source: str
    question_ids: tuple[str, ...]
    rows: tuple[str, ...]
    question: Integers
    scores: Mapping[str, Floats]
    failure: Integers
    failures: tuple[str, ...]
    votes: Integers | None
    sizes: Mapping[str, Floats]

    def counts(self) -> Integers:
        """Return how many samples each question has, (Q,)."""
        return np.bincount(self.question, minlength=len(self.question_ids))

    def failed(self) -> dict[str, int]:
        """Return how many samples failed for each reason, the most frequent first."""
        counts = np.bincount(self.failure[self.failure != NOT_FAILED], minlength=len(self.failures))
        found = {reason: int(count) for reason, count in zip(self.failures, counts, strict=True) if count}
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def taken(self, places: Integers) -> Samples:
        """Return the samples at these places, in this order; a question may be left with none."""
        return replace(
            self,
            question=self.question[places],
            failure=self.failure[places],
            scores={name: column[places] for name, column in self.scores.items()},
            votes=None if self.votes is None else self.votes[places],
            sizes={name: column[places] for name, column in self.sizes.items()},
        )

    def without_failures(self) -> Samples:
        """Return the samples that did not fail."""
        return self.taken(np.flatnonzero(self.failure == NOT_FAILED))

    def with_failures_as_zero(self) -> Samples:
        """Return all samples, with scores of 0 and no answer in place of each failure."""
        failed = self.failure != NOT_FAILED
        return replace(
            self,
            scores={name: np.where(failed, 0.0, column) for name, column in self.scores.items()},
            votes=None if self.votes is None else np.where(failed, NO_ANSWER, self.votes),
        )


class SampleColumns:
    """Takes the lines of one data source, chunk by chunk, and makes `Samples` of them. Nothing of a line is kept."""

    def __init__(self, data_source: str) -> None:
        self._data_source = data_source
        self._places: dict[str, int] = {}
        self._rows: dict[str, str] = {}
        self._names: tuple[str, ...] = ()
        self._reasons: dict[str, int] = {}
        self._chunks: list[tuple[npt.NDArray[Any], ...]] = []
        self._scores: list[Floats | None] = []

    def add(self, lines: Sequence[Line], numbers: Integers) -> None:
        """Add lines of the data source.

        Args:
            lines: the lines.
            numbers: (len(lines),) their numbers in the file, for error messages.

        Raises:
            ValueError: for a question with two different rows, or scores of other names than those of the first line.
        """
        for line, number in zip(lines, numbers, strict=True):
            if self._rows.setdefault(line.question_id, line.row) != line.row:
                raise ValueError(
                    f"line {number}: question {line.question_id!r} of {line.data_source!r} is another row than on an "
                    "earlier line; keep evaluations of different rows in different files"
                )
        places, reasons = self._places, self._reasons
        columns = (
            np.array([places.setdefault(line.question_id, len(places)) for line in lines], np.int64),
            np.array([line.sample for line in lines], np.int64),
            np.array(
                [
                    NOT_FAILED if line.failure is None else reasons.setdefault(line.failure, len(reasons))
                    for line in lines
                ],
                np.int64,
            ),
            np.array([NO_ANSWER if line.vote is None else line.vote for line in lines], np.int64),
            np.array([[getattr(line, size) for line in lines] for size in SIZES], np.float64).T,
        )
        self._scores.append(self._take_scores(lines, numbers))
        self._chunks.append(columns)

    def _take_scores(self, lines: Sequence[Line], numbers: Integers) -> Floats | None:
        """Return (len(lines), names) scores; None as long as no sample was scored."""
        if not self._names:
            self._names = next((tuple(line.scores) for line in lines if line.scores is not None), ())
        missing = dict.fromkeys(self._names, np.nan)
        flat = array("d")
        for line, number in zip(lines, numbers, strict=True):
            if line.scores is None and line.failure is None:
                raise ValueError(f"line {number} has neither scores nor a failure; it is damaged")
            scores = missing if line.scores is None else line.scores
            if tuple(scores) != self._names:
                scores = self._in_order(scores, number)
            flat.extend(scores.values())
        return np.array(flat).reshape(len(lines), len(self._names)) if self._names else None

    def _in_order(self, scores: Mapping[str, float], number: int) -> dict[str, float]:
        if set(scores) != set(self._names):
            raise ValueError(
                f"line {number} has the scores {', '.join(scores)}, the lines before it {', '.join(self._names)}; keep "
                "what other verifiers scored in a file of its own"
            )
        return {name: scores[name] for name in self._names}

    def samples(self, known_sizes: Collection[str] = SIZES, votes_known: bool = True) -> Samples:
        """Return all samples that were added.

        Args:
            known_sizes: which of turns, searches and tokens the lines say.
            votes_known: whether they say which answers are the same.

        Raises:
            ValueError: where a sample of a question is there twice.
        """
        question, sample, failure, votes, sizes = (
            np.concatenate(columns) for columns in zip(*self._chunks, strict=True)
        )
        nothing = np.full(len(self._names), np.nan)
        scores = np.concatenate(
            [
                np.tile(nothing, (len(chunk[0]), 1)) if known is None else known
                for chunk, known in zip(self._chunks, self._scores, strict=True)
            ]
        )
        ids = sorted(self._places)
        rank = np.empty(len(ids), np.int64)
        rank[[self._places[id_] for id_ in ids]] = np.arange(len(ids))
        question = rank[question]
        order = np.lexsort((sample, question))
        self._refuse_twice(ids, question[order], sample[order])
        return Samples(
            data_source=self._data_source,
            question_ids=tuple(ids),
            rows=tuple(self._rows[id_] for id_ in ids),
            question=question[order],
            scores={name: scores[order, column] for column, name in enumerate(self._names)},
            failure=failure[order],
            failures=tuple(self._reasons),
            votes=votes[order] if votes_known else None,
            sizes={name: sizes[order, column] for column, name in enumerate(SIZES) if name in known_sizes},
        )

    def _refuse_twice(self, ids: Sequence[str], question: Integers, sample: Integers) -> None:
        again = np.flatnonzero((np.diff(question) == 0) & (np.diff(sample) == 0))
        if len(again):
            first = int(again[0])
            raise ValueError(
                f"sample {sample[first]} of question {ids[question[first]]!r} is there twice"
                + (f", and {len(again) - 1:,} more are" if len(again) > 1 else "")
                + "; take one of each out, or compare the files that were put together one by one"
            )
