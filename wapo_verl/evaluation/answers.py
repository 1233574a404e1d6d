"""Which samples of a question give the same answer, by the environment's own equality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wapo_verl.environments.environment import Environment


class Ballot:
    """The answers to one question: a new one is compared with one of each kind that was given before."""

    def __init__(self, environment: Environment, ground_truth: Any, votes: Mapping[str, int] | None = None) -> None:
        """Open the vote.

        Args:
            environment: the one that says which answers are the same.
            ground_truth: the row's.
            votes: answer -> label, of samples that voted before.
        """
        self._environment = environment
        self._ground_truth = ground_truth
        self._votes = dict(votes or {})
        self._kinds = list({label: answer for answer, label in reversed(self._votes.items())}.values())

    def vote(self, answer: str | None, sample: int) -> int | None:
        """Return the label of a sample's answer: the number of the first sample that gave it.

        Args:
            answer: as given; None for no answer, which has no label.
            sample: the sample's number.
        """
        if answer is None:
            return None
        if answer not in self._votes:
            kind = next((kind for kind in self._kinds if self._same(kind, answer)), None)
            if kind is None:
                self._kinds.append(answer)
            self._votes[answer] = sample if kind is None else self._votes[kind]
        return self._votes[answer]

    def _same(self, first: str, second: str) -> bool:
        return self._environment.same_answer(first, second, self._ground_truth)
