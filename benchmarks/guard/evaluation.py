"""Measure the detector on recorded runs: how often it alarms in sound ones, and when in collapsed ones.

A run's label comes from outside (`benchmarks.study.collapse`, which sees the whole run); the detector sees one step
after another. In a collapsed run the first alarm counts as a detection from `EARLY_STEPS` before the labelled step on;
one before that is premature, a mistake like a false alarm.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wapo_verl.guard.diagnosis import Diagnosis, can_look, diagnose
from wapo_verl.guard.rules import REWARD, RULES
from wapo_verl.guard.thresholds import CONFIRM, Thresholds

EARLY_STEPS = 10
"""Steps before the labelled collapse from which on an alarm is taken to be about that collapse."""


@dataclass(frozen=True, slots=True)
class Run:
    """A recorded run: its name, its seed, one mapping of metrics a step (each with "step"), and the labelled step."""

    name: str
    seed: int
    steps: Sequence[Mapping[str, float]]
    collapsed_at: int | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the detector made of a run: the first step of each rule's alarm, rules without one left out."""

    run: Run
    first: Mapping[str, int]

    def alarm(self, rules: Iterable[str] | None = None) -> int | None:
        """The first alarm's step, of these rules or of all; None without one."""
        steps = [step for name, step in self.first.items() if rules is None or name in rules]
        return min(steps, default=None)


@dataclass(frozen=True, slots=True)
class Kept:
    """What the guard would have kept at the first alarm of a run: the last good step, None without one.

    Attributes:
        share: the reward that the kept weights gave (the mean over the three steps after it), as a share of the best
            such mean before the alarm; None where no step is kept.
    """

    step: int | None
    share: float | None


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts over runs, and for each detection how many steps after the labelled step it came (negative: before)."""

    sound: int
    false_alarms: int
    collapsed: int
    premature: int
    delays: tuple[int, ...]

    def delay(self) -> str:
        """Median delay with the smallest and the largest, in steps; a dash without a detection."""
        if not self.delays:
            return "–"
        return f"{statistics.median(self.delays):+.3g} ({min(self.delays):+d} to {max(self.delays):+d})"


def replay(run: Run, thresholds: Thresholds | None = None) -> Outcome:
    """Show a run to a detector, step by step, as `wapo-verl diagnose` does."""
    return _outcome(run, diagnose(_numbered(run), thresholds))


def rehearse(run: Run, save_every: int, confirm: int, thresholds: Thresholds | None = None) -> Kept:
    """Replay a run up to its first alarm as the guard would live it, with a checkpoint every `save_every` steps."""
    found = diagnose(_numbered(run), thresholds, save_every, confirm)
    if found.last_good is None:
        return Kept(None, None)
    alarm = _outcome(run, found).alarm()
    rewards = [step[REWARD] for step in run.steps if step["step"] and (alarm is None or step["step"] <= alarm)]
    after = [statistics.fmean(rewards[place : place + 3]) for place in range(len(rewards) - 2)]
    return Kept(found.last_good, after[found.last_good] / max(after))


def _outcome(run: Run, found: Diagnosis) -> Outcome:
    return Outcome(run, {each.alarm.rule: each.alarm.step for each in found.first})


def _numbered(run: Run) -> list[tuple[int, Mapping[str, float]]]:
    return [(int(metrics["step"]), metrics) for metrics in run.steps]


def counts(outcomes: Sequence[Outcome], rules: Iterable[str] | None = None) -> Counts:
    """Count over outcomes, with the alarms of these rules alone or of all."""
    chosen = None if rules is None else frozenset(rules)
    sound = [outcome for outcome in outcomes if outcome.run.collapsed_at is None]
    delays = [
        step - outcome.run.collapsed_at
        for outcome in outcomes
        if outcome.run.collapsed_at is not None and (step := outcome.alarm(chosen)) is not None
    ]
    return Counts(
        sound=len(sound),
        false_alarms=sum(outcome.alarm(chosen) is not None for outcome in sound),
        collapsed=len(outcomes) - len(sound),
        premature=sum(delay < -EARLY_STEPS for delay in delays),
        delays=tuple(delay for delay in delays if delay >= -EARLY_STEPS),
    )


def report(outcomes: Sequence[Outcome]) -> str:
    """A Markdown table: all rules together, all but the one that reads what the label reads, then each alone.

    A rule alone is counted over the runs that have its metric.
    """
    others = [rule.name for rule in RULES if rule.name != "reward_fall"]
    rows = [("all rules", None, outcomes), ("all but reward_fall", others, outcomes)]
    names = [{name for step in outcome.run.steps for name in step} for outcome in outcomes]
    rows += [
        (
            f"`{rule.name}` alone",
            [rule.name],
            [outcome for outcome, logged in zip(outcomes, names, strict=True) if can_look(rule, logged)],
        )
        for rule in RULES
    ]
    lines = [
        "| rules | false alarms in sound runs | collapses detected | premature | steps from the collapse to the alarm, "
        "median (least to most) |",
        "| --- | --- | --- | --- | --- |",
    ]
    for title, chosen, counted in rows:
        found = counts(counted, chosen)
        lines.append(
            f"| {title} | not recorded | – | – | – |"
            if not counted
            else f"| {title} | {found.false_alarms} of {found.sound} | {len(found.delays)} of {found.collapsed} | "
            f"{found.premature} | {found.delay()} |"
        )
    return "\n".join(lines) + "\n"


def kept_report(runs: Sequence[Run], thresholds: Thresholds | None = None) -> str:
    """A Markdown table: what the guard would have kept of the collapsed runs, by how often they save."""
    collapsed = [run for run in runs if run.collapsed_at is not None]
    lines = [
        "| a checkpoint every | collapsed runs with a good one at the first alarm | its reward as a share of the best "
        f"before the alarm, median (least); confirmed by {CONFIRM} steps |",
        "| --- | --- | --- |",
    ]
    for save_every in (1, 2, 5):
        kept = [rehearse(run, save_every, CONFIRM, thresholds).share for run in collapsed]
        shares = [share for share in kept if share is not None]
        found = f"{statistics.median(shares):.2f} ({min(shares):.2f})" if shares else "–"
        lines.append(
            f"| {'step' if save_every == 1 else f'{save_every} steps'} | {len(shares)} of {len(collapsed)} | {found} |"
        )
    return "\n".join(lines) + "\n"


def mistakes(outcomes: Sequence[Outcome]) -> list[str]:
    """One line for each run that the detector got wrong, all rules together."""
    lines = []
    for outcome in outcomes:
        label, step = outcome.run.collapsed_at, outcome.alarm()
        rules = ", ".join(f"{name} at {at}" for name, at in sorted(outcome.first.items(), key=lambda item: item[1]))
        if label is None and step is not None:
            before, after = _rewards_around(outcome.run, step)
            reward = (
                f"{max(before):.2f} at its best before, then {min(after):.2f} at its lowest, {after[-1]:.2f} at the end"
            )
            lines.append(f"{outcome.run.name}: sound, but {rules}; the reward: {reward}")
        elif label is not None and step is None:
            lines.append(f"{outcome.run.name}: collapsed at {label}, not detected")
        elif label is not None and step is not None and step < label - EARLY_STEPS:
            lines.append(f"{outcome.run.name}: collapsed at {label}, premature: {rules}")
    return lines


def _rewards_around(run: Run, step: int) -> tuple[list[float], list[float]]:
    """The rewards before a step, and from it on."""
    found = [(metrics["step"], metrics[REWARD]) for metrics in run.steps if REWARD in metrics]
    return [reward for at, reward in found if at < step], [reward for at, reward in found if at >= step]
