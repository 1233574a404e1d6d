"""Look at a whole run with the detector: when did it begin, and by which sign? Pure Python: no veRL, no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wapo_verl.guard.detector import Alarm, Detector, newly_good
from wapo_verl.guard.rules import MUST_BE_FINITE, RULES, Rule
from wapo_verl.guard.thresholds import CONFIRM, Thresholds


@dataclass(frozen=True, slots=True)
class FirstAlarm:
    """A rule's first alarm in a run, and the step since which its condition had held."""

    alarm: Alarm
    since: int


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the detector makes of a run.

    Attributes:
        first: each rule's first alarm, in the order in which they came.
        last_good: the step of the last checkpoint that the guard would call good at the first alarm, or at the end.
        without_metric: the rules that could not look, because the run did not log what they read.
    """

    first: Sequence[FirstAlarm]
    last_good: int | None
    without_metric: Sequence[Rule]


def diagnose(
    steps: Iterable[tuple[int, Mapping[str, float]]],
    thresholds: Thresholds | None = None,
    save_every: int = 1,
    confirm: int = CONFIRM,
) -> Diagnosis:
    """Show a run to a detector, once, and say what came of it.

    Args:
        steps: the run's in order, each with its metrics; step 0 is before any training and is skipped.
        thresholds: the detector's, the defaults where None.
        save_every: steps from one checkpoint to the next.
        confirm: steps without an alarm that a checkpoint waits for.
    """
    detector, since, names = Detector(thresholds), dict[str, int](), set[str]()
    first: dict[str, FirstAlarm] = {}
    good, waiting = None, list[int]()
    for step, metrics in steps:
        names.update(metrics)
        if step == 0:
            continue
        alarms = detector.observe(step, metrics)
        since = {rule: since.get(rule, step) for rule in detector.doubts}
        for alarm in alarms:
            first.setdefault(alarm.rule, FirstAlarm(alarm, since[alarm.rule]))
        if first:
            continue  # what is good after an alarm depends on what the guard does about it
        waiting += [step] if step % save_every == 0 else []
        newly = newly_good(waiting, step, confirm, detector)
        if newly is not None:
            good, waiting = newly, [later for later in waiting if later > newly]
    return Diagnosis(list(first.values()), good, [rule for rule in RULES if not can_look(rule, names)])


def can_look(rule: Rule, names: Iterable[str]) -> bool:
    """Tell whether a rule reads any of these metrics."""
    return any(name.startswith(MUST_BE_FINITE) if rule.metric is None else name == rule.metric for name in names)
