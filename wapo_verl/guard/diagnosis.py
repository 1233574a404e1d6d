"""Look at a whole run with the detector: when did it begin, and by which sign? Pure Python: no veRL, no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wapo_verl.guard.detector import Alarm, Detector, newly_good
from wapo_verl.guard.rules import MUST_BE_FINITE, RULES, Rule
from wapo_verl.guard.thresholds import CONFIRM, Thresholds

Steps = Iterable[tuple[int, Mapping[str, float]]]
"""Steps in order, each with its metrics; step 0 is before any training and is skipped."""


@dataclass(frozen=True, slots=True)
class FirstAlarm:
    """A rule's first alarm in a run, and the step since which its condition had held."""

    alarm: Alarm
    since: int


def first_alarms(steps: Steps, thresholds: Thresholds | None = None) -> list[FirstAlarm]:
    """Show a run to a detector, and return each rule's first alarm in the order in which they came."""
    detector, since = Detector(thresholds), dict[str, int]()
    found: dict[str, FirstAlarm] = {}
    for step, metrics in steps:
        if step == 0:
            continue
        alarms = detector.observe(step, metrics)
        since = {rule: since.get(rule, step) for rule in detector.doubts}
        for alarm in alarms:
            found.setdefault(alarm.rule, FirstAlarm(alarm, since[alarm.rule]))
    return list(found.values())


def last_good_step(
    steps: Steps, save_every: int = 1, confirm: int = CONFIRM, thresholds: Thresholds | None = None
) -> int | None:
    """Return the step of the last good checkpoint at a run's first alarm, or at its end; None without one.

    Args:
        steps: the run's.
        save_every: steps from one checkpoint to the next.
        confirm: steps without an alarm that a checkpoint waits for.
        thresholds: the detector's, the defaults where None.
    """
    detector, good, waiting = Detector(thresholds), None, list[int]()
    for step, metrics in steps:
        if step == 0:
            continue
        if detector.observe(step, metrics):
            break
        waiting += [step] if step % save_every == 0 else []
        newly = newly_good(waiting, step, confirm, detector)
        if newly is not None:
            good, waiting = newly, [later for later in waiting if later > newly]
    return good


def can_look(rule: Rule, steps: Iterable[Mapping[str, float]]) -> bool:
    """Tell whether any of these steps has a metric that the rule reads."""
    if rule.metric is None:
        return any(name.startswith(MUST_BE_FINITE) for metrics in steps for name in metrics)
    return any(rule.metric in metrics for metrics in steps)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the detector makes of a run.

    Attributes:
        first: each rule's first alarm, in the order in which they came.
        last_good: the step of the last checkpoint that the guard would call good, had one been saved every step.
        without_metric: the rules that could not look, because the run did not log what they read.
    """

    first: Sequence[FirstAlarm]
    last_good: int | None
    without_metric: Sequence[Rule]


def diagnose(steps: Sequence[tuple[int, Mapping[str, float]]], thresholds: Thresholds | None = None) -> Diagnosis:
    """Look at a run's steps, in order."""
    unable = [rule for rule in RULES if not can_look(rule, (metrics for _, metrics in steps))]
    return Diagnosis(first_alarms(steps, thresholds), last_good_step(steps, thresholds=thresholds), unable)
