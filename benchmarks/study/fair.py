"""The fair comparison: each method is tuned by itself on some seeds, and reported on others that had no say in it.

For each method the learning rate with the best mean held-out exact match over the tuning seeds is chosen. Its grid
grows beyond an edge until the best rate has a worse one on both sides, and the greatest rate is no longer stable. At
that rate a method with a clip is tried with another one, and keeps the better. Then it is run so on the fresh seeds; a
seed makes the world, the warm start, the questions' order and the sampling. All choices are read from the records
alone, so a study that was stopped goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import log10
from statistics import mean

from benchmarks.study.collapse import label
from benchmarks.study.records import HELD_OUT, Record
from benchmarks.study.settings import Cell, StudySettings

METHODS = ("wapo", "grpo_ref", "raft_pp", "nsr", "w_reinforce", "topr", "psr", "asymre", "gspo_ref", "cpgd")
OTHER_CLIP = {"wapo": 0.2, **dict.fromkeys(("grpo_ref", "raft_pp", "nsr", "w_reinforce", "psr", "cpgd"), 9.0)}
"""The upper clip that is tried beside a method's own: PPO's for WAPO, and WAPO's for those that have PPO's."""
STEP = 2.0
"""The factor between two learning rates of the grid."""
LIMITS = (5e-5, 4e-2)
"""No rate beyond these is tried, wherever the best one is."""
PASS_QUESTIONS = 32
"""Held-out questions that pass@k of a reported run is measured on: 64 samples of each are a fifth of the run's time."""
TOLERANCE = 0.1
"""How far below its own best mean a method may be at a rate of its stable range."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a method is reported with: a learning rate, and an upper clip, None for the method's own."""

    learning_rate: float
    clip_ratio_high: float | None = None


@dataclass(frozen=True, slots=True)
class Protocol:
    """Which runs are made for the comparison.

    Attributes:
        algorithms: the methods' names.
        learning_rates: where every method's grid starts, `STEP` apart, rising.
        off_policy_steps: optimizer mini-batches a step.
        tuning_seeds: on which the rate is chosen.
        fresh_seeds: on which the method is reported.

    Raises:
        ValueError: where a seed is among both.
    """

    algorithms: tuple[str, ...] = METHODS
    learning_rates: tuple[float, ...] = (1e-3, 2e-3)
    off_policy_steps: int = 8
    tuning_seeds: tuple[int, ...] = (0, 1)
    fresh_seeds: tuple[int, ...] = tuple(range(100, 108))

    def __post_init__(self) -> None:
        both = sorted(set(self.tuning_seeds) & set(self.fresh_seeds))
        if both:
            raise ValueError(
                f"seed {both[0]} is both a tuning seed and a fresh seed: a method tuned on a seed looks better on it "
                "than it is, so report it on others"
            )

    def tuning_cells(self) -> Iterator[Cell]:
        """The grid's runs, seed by seed, so that an unfinished grid is balanced."""
        for seed in self.tuning_seeds:
            for rate in self.learning_rates:
                for name in self.algorithms:
                    yield Cell(name, rate, self.off_policy_steps, seed)

    def further_tuning_cells(self, records: Sequence[Record]) -> Iterator[Cell]:
        """The runs beyond the edges of the grids whose best rate stands there, and those with another clip."""
        found = {name: tuning(records, self, name) for name in self.algorithms}
        for seed in self.tuning_seeds:
            for name, tuned in found.items():
                if tuned.missing is not None:
                    yield Cell(name, tuned.missing, self.off_policy_steps, seed)
                elif tuned.best is not None and tuned.misses_other_clip:
                    yield Cell(name, tuned.best, self.off_policy_steps, seed, tuned.other_clip)

    def fresh_cells(self, chosen: Mapping[str, Choice]) -> Iterator[Cell]:
        """The reported runs with the methods' chosen settings, seed by seed."""
        for seed in self.fresh_seeds:
            for name, choice in chosen.items():
                yield Cell(name, choice.learning_rate, self.off_policy_steps, seed, choice.clip_ratio_high)


@dataclass(frozen=True, slots=True)
class Tried:
    """A rate on tuning seeds: the mean of the last held-out exact match, how many runs collapsed, and of how many."""

    held_out: float
    collapsed: int
    runs: int


@dataclass(frozen=True, slots=True)
class Tuning:
    """What a method's tuning runs say.

    Attributes:
        tried: learning rate -> what it came to, rising; only rates that all tuning seeds were run at.
        started: the same for rates that are not finished; nothing is chosen by them.
        other_clip: the clip that is tried at the best rate beside the method's own; None where it has no clip.
        with_other_clip: what that came to; None as long as it has not all tuning runs.
    """

    tried: Mapping[float, Tried] = field(default_factory=dict)
    started: Mapping[float, Tried] = field(default_factory=dict)
    other_clip: float | None = None
    with_other_clip: Tried | None = None

    @property
    def best(self) -> float | None:
        """The rate with the best mean, the smaller one of equals; None where no rate has all its runs."""
        return max(self.tried, key=lambda rate: (self.tried[rate].held_out, -rate)) if self.tried else None

    @property
    def missing(self) -> float | None:
        """The next rate to try: below or above an edge of the grid that is best, above one that is still stable."""
        if self.best is None:
            return None
        rates = list(self.tried)
        if self.best == rates[0] and self.best / STEP >= LIMITS[0]:
            return self.best / STEP
        above = rates[-1] * STEP
        stable = self.stable_range
        unsettled = self.best == rates[-1] or (stable is not None and stable[1] == rates[-1])
        return above if unsettled and above <= LIMITS[1] else None

    @property
    def misses_other_clip(self) -> bool:
        """Whether the other clip is still to be tried at the best rate."""
        return self.other_clip is not None and self.with_other_clip is None

    @property
    def choice(self) -> Choice | None:
        """What the method is reported with, its own clip where both are equal; None where no rate has all its runs."""
        if self.best is None:
            return None
        other = self.with_other_clip
        better = other is not None and other.held_out > self.tried[self.best].held_out
        return Choice(self.best, self.other_clip if better else None)

    @property
    def stable_range(self) -> tuple[float, float] | None:
        """The least and the greatest rate around the best one without a collapse and near the best mean.

        None where runs collapsed at the best rate itself.
        """
        if self.best is None or self.tried[self.best].collapsed:
            return None
        rates, place = list(self.tried), list(self.tried).index(self.best)
        low = high = place
        while low > 0 and self._stable(rates[low - 1]):
            low -= 1
        while high + 1 < len(rates) and self._stable(rates[high + 1]):
            high += 1
        return rates[low], rates[high]

    @property
    def stable_decades(self) -> float | None:
        """The width of the stable range in decades, 0 where it is one rate; None where there is none."""
        found = self.stable_range
        return None if found is None else log10(found[1] / found[0])

    def _stable(self, rate: float) -> bool:
        assert self.best is not None
        tried = self.tried[rate]
        return not tried.collapsed and tried.held_out >= self.tried[self.best].held_out - TOLERANCE


def tuning(records: Sequence[Record], protocol: Protocol, algorithm: str) -> Tuning:
    """What a method's runs on the tuning seeds came to."""
    by_rate = _by_rate(_of(records, protocol, algorithm, None), protocol)
    all_tried = {rate: _tried(by_rate[rate]) for rate in sorted(by_rate) if on_the_grid(rate, protocol)}
    whole = len(protocol.tuning_seeds)
    tried = {rate: one for rate, one in all_tried.items() if one.runs == whole}
    found = Tuning(tried, {rate: one for rate, one in all_tried.items() if one.runs < whole})
    other = OTHER_CLIP.get(algorithm) if protocol.off_policy_steps > 1 else None  # else every ratio is 1
    if other is None or found.best is None:
        return found
    at_best = _by_rate(_of(records, protocol, algorithm, other), protocol).get(found.best, [])
    return replace(found, other_clip=other, with_other_clip=_tried(at_best) if len(at_best) == whole else None)


def _by_rate(records: Iterator[Record], protocol: Protocol) -> dict[float, list[Record]]:
    """The runs on tuning seeds by their learning rate."""
    found: dict[float, list[Record]] = {}
    for record in records:
        if record.cell.seed in protocol.tuning_seeds:
            found.setdefault(record.cell.learning_rate, []).append(record)
    return found


def _tried(records: Sequence[Record]) -> Tried:
    ends = [record.curve(HELD_OUT)[-1][1] for record in records]
    return Tried(mean(ends), sum(label(record) is not None for record in records), len(records))


def fresh(records: Sequence[Record], protocol: Protocol, algorithm: str, choice: Choice) -> dict[int, Record]:
    """A method's reported runs, by seed."""
    return {
        record.cell.seed: record
        for record in _of(records, protocol, algorithm, choice.clip_ratio_high)
        if record.cell.seed in protocol.fresh_seeds and record.cell.learning_rate == choice.learning_rate
    }


def chosen(records: Sequence[Record], protocol: Protocol) -> dict[str, Choice]:
    """What each method that has a best rate is reported with."""
    choices = {name: tuning(records, protocol, name).choice for name in protocol.algorithms}
    return {name: choice for name, choice in choices.items() if choice is not None}


def protocols(records: Sequence[Record]) -> list[Protocol]:
    """The protocol for each number of updates a step that there are runs of, the most updates first."""
    updates = sorted({record.cell.off_policy_steps for record in records}, reverse=True)
    return [Protocol(off_policy_steps=count) for count in updates]


def tuning_records(records: Sequence[Record]) -> list[Record]:
    """The runs that are not on fresh seeds."""
    return [record for record in records if record.cell.seed not in Protocol().fresh_seeds]


def on_the_grid(rate: float, protocol: Protocol) -> bool:
    """Whether a rate is of the grid or of its continuation; records may hold others, which other questions asked for.

    A method for which more rates were tried than for the others would have the better chance of a lucky one.
    """
    steps = log10(rate / protocol.learning_rates[0]) / log10(STEP)
    return abs(steps - round(steps)) < 1e-6


def pass_settings(settings: StudySettings) -> StudySettings:
    """The settings of reported runs: those of tuning, with pass@k measured."""
    return replace(settings, pass_questions=PASS_QUESTIONS)


def _of(records: Sequence[Record], protocol: Protocol, algorithm: str, clip: float | None) -> Iterator[Record]:
    """The runs of a method with that upper clip, None for its own, in step."""
    wanted = (algorithm, protocol.off_policy_steps, clip, 0)
    for record in records:
        cell = record.cell
        if (cell.algorithm, cell.off_policy_steps, cell.clip_ratio_high, cell.staleness) == wanted:
            yield record
