"""Reads a run's metrics step by step and tells when something is wrong with it. Pure Python: no veRL, no torch.

The trainer hands it the metrics; what is done about an alarm is in `guard`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

from wapo_verl.guard.rules import RULES, Breach, Look, Rule, Track
from wapo_verl.guard.thresholds import Thresholds


@dataclass(frozen=True, slots=True)
class Alarm:
    """A rule whose condition has held for its patience.

    Attributes:
        rule: its name.
        step: the step observed.
        metric: what the rule read; the one that is not finite, where the rule reads all.
        value, limit: what was seen, and what it is beyond, both in the unit of the metric.
        seen: the same in words, for a person.
        streak: steps in a row, of those with the metric, in which the condition held.
    """

    rule: str
    step: int
    metric: str
    value: float
    limit: float
    seen: str
    streak: int

    @property
    def sentence(self) -> str:
        """What is wrong and for how long, for a person."""
        steps = "step" if self.streak == 1 else "steps"
        return f"{self.seen}, {self.streak} {steps} in a row up to step {self.step}"


class Detector:
    """Observes one run, a step at a time, in order."""

    def __init__(self, thresholds: Thresholds | None = None, rules: tuple[Rule, ...] = RULES) -> None:
        self.thresholds = thresholds or Thresholds()
        self.rules = rules
        self._tracks: dict[str, Track] = {}
        self._streaks = dict.fromkeys((rule.name for rule in rules), 0)

    def observe(self, step: int, metrics: Mapping[str, float]) -> list[Alarm]:
        """Take one step's metrics, and return the alarms that are active now, in the rules' order.

        Args:
            step: the training step, for the alarms' sentences.
            metrics: name -> number; a rule whose metric is missing, or not finite, is silent.
        """
        for name in {rule.metric for rule in self.rules if rule.metric is not None}:
            if name in metrics and math.isfinite(metrics[name]):
                self._tracks.setdefault(name, Track()).add(float(metrics[name]), self.thresholds)
        judged = [(rule, self._judge(rule, metrics)) for rule in self.rules if _is_heard(rule, metrics)]
        for rule, breach in judged:
            self._streaks[rule.name] = 0 if breach is None else self._streaks[rule.name] + 1
        return [
            _alarm(rule, breach, step, self._streaks[rule.name])
            for rule, breach in judged
            if breach is not None and self._streaks[rule.name] >= rule.patience(self.thresholds)
        ]

    @property
    def doubts(self) -> tuple[str, ...]:
        """The rules whose condition held when they last heard of their metric, patient or not."""
        return tuple(name for name, streak in self._streaks.items() if streak)

    def _judge(self, rule: Rule, metrics: Mapping[str, float]) -> Breach | None:
        if rule.metric is None:
            return rule.judge(Look(math.nan, Track(), metrics, self.thresholds))
        return rule.judge(Look(metrics[rule.metric], self._tracks[rule.metric], metrics, self.thresholds))

    def state_dict(self) -> dict[str, Any]:
        """Return all that was remembered, as plain JSON types: a resumed run keeps its own start."""
        return {
            "tracks": {name: asdict(track) for name, track in self._tracks.items()},
            "streaks": dict(self._streaks),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave; rules that it does not know begin anew.

        Raises:
            ValueError: for a state that is none.
        """
        try:
            tracks = {str(name): Track(**deepcopy(track)) for name, track in state["tracks"].items()}
            streaks = {str(name): int(streak) for name, streak in state["streaks"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is no detector's state: {error!r}; write one with state_dict") from error
        self._tracks = tracks
        self._streaks = {rule.name: streaks.get(rule.name, 0) for rule in self.rules}


def newly_good(unjudged: Sequence[int], step: int, confirm: int, detector: Detector) -> int | None:
    """Choose the newest of the checkpoints that wait which is good now: `confirm` steps old, and nothing is doubted.

    Args:
        unjudged: their steps, none of which has seen an alarm since.
        step: the step that `detector` has just observed, without an alarm.
        confirm: steps without an alarm that a checkpoint has to wait for.
        detector: the run's.
    """
    ready = [waiting for waiting in unjudged if step - waiting >= confirm]
    return max(ready) if ready and not detector.doubts else None


def _is_heard(rule: Rule, metrics: Mapping[str, float]) -> bool:
    return rule.metric is None or (rule.metric in metrics and math.isfinite(metrics[rule.metric]))


def _alarm(rule: Rule, breach: Breach, step: int, streak: int) -> Alarm:
    seen = f"{breach.words} (limit {breach.limit:.4g})"
    return Alarm(rule.name, step, rule.metric or breach.metric, breach.value, breach.limit, seen, streak)
