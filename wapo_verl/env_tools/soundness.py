"""Checks a whole environment: every row by itself (`checks`), rows against each other, and a second reading.

Rows are read twice, one at a time: once to count them, find equal questions and collect answers for the attacks, once
to check them, beside another process that reads and scores the same rows (`twin`). Nothing is held but a few bytes a
row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import repeat, takewhile
from typing import Any

from wapo_verl.data.overlap import TRAIN, question_key
from wapo_verl.env_tools.attacks import ATTACKS
from wapo_verl.env_tools.checks import ABOUT, Subject, check_one
from wapo_verl.env_tools.row_choice import RowChoice
from wapo_verl.env_tools.twin import END, digest, twin
from wapo_verl.environments.environment import Environment

OTHER_ANSWERS = 8
NAMED = 3
"""Failing rows of a check that are named."""

TWIN, OVERLAP, DUPLICATES = "another process", "overlap", "duplicates"
TELLS: Mapping[str, str] = {
    **ABOUT,
    **{attack.name: f"is not paid: a policy that {attack.about}" for attack in ATTACKS},
    TWIN: "another process reads the same rows and scores",
    OVERLAP: "no question of train is in another split",
    DUPLICATES: "(no failure) questions asked before in the same split",
}
NOTES = frozenset({DUPLICATES})
"""What is told and is no failure."""


@dataclass(frozen=True, slots=True)
class FailingRow:
    """A row that a check fails, and what is wrong with it."""

    check: str
    split: str
    row: int
    problem: str


@dataclass(slots=True)
class Tally:
    """One check's outcome: rows it was made on, how many did not pass, the first of those."""

    checked: int = 0
    failed: int = 0
    first: list[FailingRow] = field(default_factory=list)


@dataclass(slots=True)
class Soundness:
    """The outcome: rows by split, and a tally for each check in the order of the table."""

    rows: dict[str, int] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)

    @property
    def failures(self) -> list[FailingRow]:
        """The first failures of each check, notes left out."""
        return [failure for name, tally in self.tallies.items() if name not in NOTES for failure in tally.first]

    @property
    def sound(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    def note(self, check: str, split: str, row: int, problem: str | None) -> None:
        """Count a check of a row, and its failure where there is a problem."""
        tally = self.tallies.setdefault(check, Tally())
        tally.checked += 1
        if problem:
            tally.failed += 1
            if len(tally.first) < NAMED:
                tally.first.append(FailingRow(check, split, row, problem))


def check_environment(
    rows: RowChoice,
    begin: Callable[[str, int], None] = lambda split, count: None,
    advance: Callable[[], None] = lambda: None,
    twice: bool = True,
) -> Soundness:
    """Make every check on every row.

    Args:
        rows: the rows to check.
        begin: called with each split and the number of its rows before they are checked.
        advance: called after each row.
        twice: whether another process reads and scores the rows too.

    Raises:
        RowError, ValueError: when rows cannot be read.
    """
    found = Soundness()
    others = _survey(rows, found)
    first: dict[str, Any] | None = None
    request = (rows.env, rows.splits, rows.source, rows.options, rows.limit)
    with twin(*request) if twice else nullcontext() as digests:
        for split in rows.splits:
            begin(split, found.rows[split])
            theirs = None if digests is None else _of_one_split(digests)
            for index, example in rows.examples(split):
                row = rows.env.row(example, split, index)
                first = first or row
                unlike = tuple(answer for answer in others if answer not in example.answers)
                for check, problem in check_one(Subject(rows.env, example, row, split, index, first, unlike)):
                    found.note(check, split, index, problem)
                if theirs:
                    found.note(TWIN, split, index, _twin_problem(rows.env, row, next(theirs)))
                advance()
            if theirs and next(theirs) is not None:
                found.note(TWIN, split, found.rows[split], "another process has more rows: its source has changed")
    found.tallies = {name: found.tallies[name] for name in TELLS if name in found.tallies}
    return found


def _of_one_split(digests: Iterator[str]) -> Iterator[str | None]:
    """Yield the digests up to the next split's, and None for ever after."""
    yield from takewhile(lambda line: line != END, digests)
    yield from repeat(None)


def _survey(rows: RowChoice, found: Soundness) -> tuple[str, ...]:
    """Count rows, note equal questions, and return some answers of rows, each once."""
    answers: dict[str, None] = {}
    places: dict[bytes, tuple[str, int]] = {}
    # What is tested on comes first, so that train can be held against it.
    for split in sorted(rows.splits, key=lambda split: split == TRAIN):
        own: dict[bytes, int] = {}
        found.rows[split] = 0
        for index, example in rows.examples(split):
            found.rows[split] += 1
            key = question_key(example.question)
            if len(answers) < OTHER_ANSWERS:
                answers.setdefault(example.answers[0])
            if split == TRAIN:
                place = places.get(key)
                found.note(OVERLAP, split, index, f"asks what {place[0]} row {place[1]} asks" if place else None)
            earlier = own.setdefault(key, index)
            found.note(DUPLICATES, split, index, None if earlier == index else f"asks what row {earlier} asks")
        if split != TRAIN:
            places.update((key, (split, index)) for key, index in own.items())
        if not found.rows[split]:
            raise ValueError(f"{rows.env.name} {split} has no rows to check; look at its source")
    return tuple(answers)


def _twin_problem(env: Environment, row: dict[str, Any], other: str | None) -> str | None:
    try:
        own = digest(env, row)
    except Exception:  # noqa: BLE001 - the row's own checks say it
        return None
    if other is None:
        return "another process has no such row: the rows depend on the process that reads them"
    if own == other:
        return None
    return "another process reads another row or score: look for sets, hash(), clocks or an unseeded generator"
