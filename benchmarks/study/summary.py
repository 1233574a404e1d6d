"""What the runs of one condition came to: their numbers over the seeds, from the records alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median, stdev

from benchmarks.study.collapse import label, trailing_means
from benchmarks.study.records import ENTROPY, HELD_OUT, REWARD, Record

LEARNED = 0.8
"""The training exact match, averaged over three steps, whose first step is reported."""

ORDER = (
    "wapo",
    "grpo_ref",
    "dr_grpo",
    "dapo",
    "dr_dapo",
    "gspo_ref",
    "cpgd",
    "raft",
    "raft_pp",
    "psr",
    "nsr",
    "w_reinforce",
    "topr",
    "asymre",
)
"""How tables and legends list the algorithms; others follow by the alphabet."""


@dataclass(frozen=True, slots=True, order=True)
class Condition:
    """What the runs that are averaged over have in common, in the order of a table's rows; `algorithm` is a label."""

    off_policy_steps: int
    learning_rate: float
    place: int
    algorithm: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The runs of a condition, one a seed.

    Attributes:
        runs: how many there are.
        held_out: last held-out exact match, mean over the runs.
        deviation: its standard deviation over them, 0 for one run.
        least, most: the worst and the best run's.
        collapse_steps: the labels of the runs that collapsed, rising.
        entropy: median over the runs of the last step's entropy, in nats.
        learned_steps: for each run that got there, the first step with a training exact match of `LEARNED`, rising.
        cpu_seconds: a run's, mean.
    """

    runs: int
    held_out: float
    deviation: float
    least: float
    most: float
    collapse_steps: tuple[int, ...]
    entropy: float
    learned_steps: tuple[int, ...]
    cpu_seconds: float

    @property
    def typical_learned_step(self) -> float | None:
        """The median step of getting there, None where half of the runs or more never did."""
        return _median_with_missing(self.learned_steps, self.runs)


def condition(record: Record) -> Condition:
    """The condition that a run belongs to."""
    cell = record.cell
    place = ORDER.index(cell.algorithm) if cell.algorithm in ORDER else len(ORDER)
    return Condition(cell.off_policy_steps, cell.learning_rate, place, cell.label)


def by_condition(records: Sequence[Record]) -> Mapping[Condition, list[Record]]:
    """The runs of each condition, in the order of a table."""
    found: dict[Condition, list[Record]] = defaultdict(list)
    for record in records:
        found[condition(record)].append(record)
    return {key: found[key] for key in sorted(found)}


def summarise(records: Sequence[Record]) -> Summary:
    """The summary of a condition's runs, one at least."""
    ends = [record.curve(HELD_OUT)[-1][1] for record in records]
    collapsed = [label(record) for record in records]
    learned = [learned_step(record) for record in records]
    return Summary(
        runs=len(records),
        held_out=mean(ends),
        deviation=stdev(ends) if len(ends) > 1 else 0.0,
        least=min(ends),
        most=max(ends),
        collapse_steps=tuple(sorted(step for step in collapsed if step is not None)),
        entropy=median(record.curve(ENTROPY)[-1][1] for record in records),
        learned_steps=tuple(sorted(step for step in learned if step is not None)),
        cpu_seconds=mean(record.seconds["cpu"] for record in records),
    )


@dataclass(frozen=True, slots=True)
class Pairs:
    """Runs of an algorithm beside the reference's of the same condition and seed: how many fell later, or earlier.

    A run that does not collapse falls later than one that does; `together` fell at the same step, `neither` did at all.
    """

    later: int = 0
    earlier: int = 0
    together: int = 0
    neither: int = 0


def against(records: Sequence[Record], reference: str) -> Mapping[tuple[int, str], Pairs]:
    """The pairs of each number of updates and each algorithm's label with the reference's, in the order of a table."""
    never = float("inf")
    fallen = {
        (key.off_policy_steps, key.learning_rate, record.cell.seed, key.algorithm): label(record) or never
        for key, found in by_condition(records).items()
        for record in found
    }
    counts: dict[tuple[int, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(Pairs.__slots__, 0))
    for (updates, rate, seed, name), step in fallen.items():
        other = fallen.get((updates, rate, seed, reference))
        if name == reference or other is None:
            continue
        outcome = (
            "neither"
            if step == other == never
            else "together"
            if step == other
            else "later"
            if step > other
            else "earlier"
        )
        counts[updates, name][outcome] += 1
    return {key: Pairs(**found) for key, found in counts.items()}


def learned_step(record: Record) -> int | None:
    """The first step at which the training exact match, averaged over three steps, is `LEARNED` or more."""
    curve = record.curve(REWARD)
    averages = trailing_means([value for _, value in curve])
    return next((step for (step, _), average in zip(curve, averages, strict=True) if average >= LEARNED), None)


def _median_with_missing(values: Sequence[int], count: int) -> float | None:
    """The median of `count` values, those missing being later than all others; None where it is among the missing."""
    filled = sorted(values) + [None] * (count - len(values))
    middle = (filled[(count - 1) // 2], filled[count // 2])
    return None if middle[0] is None or middle[1] is None else (middle[0] + middle[1]) / 2
