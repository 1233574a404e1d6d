"""Tables over a whole run: at which steps each question was asked, how its groups did, which documents were missed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wapo_verl.data.question_index import Entry, Group
from wapo_verl.viewer.runs import ViewError

MOST_ROWS = 200
"""Rows of one answer; a table is asked for its rows from a number on."""

EQUAL = 1e-9
"""Rewards that differ by less make no winner."""

Row = dict[str, Any]


@dataclass(slots=True)
class Question:
    """A question, and the groups that were asked it, each with its step, in the order of the steps."""

    id: str
    text: str
    groups: list[tuple[int, Group]] = field(default_factory=list)

    def row(self) -> Row:
        """Return its row of the table; a long run has tens of thousands, so this is one plain pass."""
        several = winners = missed = 0
        scores: list[float] = []
        means: list[float] = []
        documents: set[str] = set()
        for _, group in self.groups:
            if group.scores:
                scores += group.scores
                means.append(sum(group.scores) / len(group.scores))
            if len(group.scores) > 1:
                several += 1
                winners += max(group.scores) > means[-1] + EQUAL
            for name, (_, times) in group.gold.items():
                if times:
                    missed += times
                    documents.add(name)
        return {
            "id": self.id,
            "text": self.text,
            "groups": len(self.groups),
            "several": several,
            "winners": winners,
            "lowest": min(scores, default=None),
            "highest": max(scores, default=None),
            "first": means[0] if means else None,
            "last": means[-1] if means else None,
            "missed": missed,
            "documents": sorted(documents),
            "first_step": self.groups[0][0],
            "last_step": self.groups[-1][0],
        }

    def described(self) -> list[Row]:
        """Return its groups as a page shows them."""
        return [
            {
                **{"step": step, "group": group.group, "completions": len(group.scores) + group.failed},
                **{"winners": winners_of(group), "mean": mean_of(group), "failed": group.failed},
                "missed": {name: times for name, (_, times) in group.gold.items() if times},
            }
            for step, group in self.groups
        ]


def by_id(entries: Mapping[int, Entry]) -> dict[str, Question]:
    """Return the questions of all steps, by their ids.

    Args:
        entries: step -> its line of the index.
    """
    made: dict[str, Question] = {}
    for step in sorted(entries):
        for group in entries[step].groups:
            question = made.get(group.id)
            if question is None:
                question = made[group.id] = Question(group.id, group.text)
            group.text = question.text  # one string in memory
            question.groups.append((step, group))
    return made


def mean_of(group: Group) -> float | None:
    """Return the mean reward of a group; None where all its completions failed."""
    return sum(group.scores) / len(group.scores) if group.scores else None


def winners_of(group: Group) -> int:
    """Return how many completions of a group are above its mean."""
    mean = mean_of(group)
    return 0 if mean is None else sum(score > mean + EQUAL for score in group.scores)


def question_rows(questions: Iterable[Question]) -> list[Row]:
    """Return the table of questions."""
    return [question.row() for question in questions]


@dataclass(slots=True)
class _Document:
    """What is counted of a gold document: who needed it and who missed it, at first, at last, in all."""

    groups: int = 0
    missing_groups: int = 0  # those in which any completion missed it
    wanted: int = 0
    missed: int = 0
    first: tuple[int, int, int] = (0, 0, 0)  # step, wanted, missed
    last: tuple[int, int, int] = (0, 0, 0)
    questions: int = 0
    latest: str = ""  # the last question that was counted

    def add(self, question: str, step: int, wanted: int, missed: int) -> None:
        if question != self.latest:
            self.questions, self.latest = self.questions + 1, question
        if not self.wanted or step < self.first[0]:
            self.first = (step, 0, 0)
        if not self.wanted or step > self.last[0]:
            self.last = (step, 0, 0)
        self.groups, self.missing_groups = self.groups + 1, self.missing_groups + (missed > 0)
        self.wanted, self.missed = self.wanted + wanted, self.missed + missed
        if step == self.first[0]:
            self.first = (step, self.first[1] + wanted, self.first[2] + missed)
        if step == self.last[0]:
            self.last = (step, self.last[1] + wanted, self.last[2] + missed)

    def row(self, name: str) -> Row:
        return {
            "text": name,
            "documents": [name],
            "questions": self.questions,
            "groups": self.groups,
            "missing_groups": self.missing_groups,
            "wanted": self.wanted,
            "missed": self.missed,
            "share": self.missed / max(self.wanted, 1),
            "first": self.first[2] / max(self.first[1], 1),
            "last": self.last[2] / max(self.last[1], 1),
            "first_step": self.first[0],
            "last_step": self.last[0],
        }


def document_rows(questions: Iterable[Question]) -> list[Row]:
    """Return the table of gold documents: how often each was needed and missed, at first, last and over all."""
    documents: dict[str, _Document] = {}
    for question in questions:
        for step, group in question.groups:
            for name, (wanted, missed) in group.gold.items():
                document = documents.get(name)
                if document is None:
                    document = documents[name] = _Document()
                document.add(question.id, step, wanted, missed)
    return [document.row(name) for name, document in documents.items()]


TABLES: dict[str, Callable[[Iterable[Question]], list[Row]]] = {
    "questions": question_rows,
    "documents": document_rows,
}

FILTERS: dict[str, dict[str, Callable[[Row], bool]]] = {
    "questions": {
        "all": lambda row: True,
        "never": lambda row: row["several"] > 0 and row["winners"] == 0,
        "wrong": lambda row: row["highest"] is not None and row["highest"] <= 0,
        "right": lambda row: row["lowest"] is not None and row["lowest"] > 0,
        "missed": lambda row: row["missed"] > 0,
        "worse": lambda row: row["first"] is not None and row["last"] < row["first"],
    },
    "documents": {
        "all": lambda row: True,
        "missed": lambda row: row["missed"] > 0,
        "always": lambda row: row["missed"] == row["wanted"],
        "still": lambda row: row["last"] > 0,
    },
}
"""Table -> name of a filter -> which rows it keeps. A question without a winner is one whose groups of several
completions all had equal rewards; wrong and right are those of which no reward, and every reward, is above 0."""


def chosen_rows(rows: Iterable[Row], by: str, show: str, text: str, sort: str, down: bool) -> list[Row]:
    """Return the rows of a table that pass a filter and hold a text, in order.

    Args:
        rows: all of the table's.
        by: the table, a name in `TABLES`.
        show: the filter, a name in `FILTERS`.
        text: what the question or a document must contain, whatever the case; empty for anything.
        sort: the column to sort by; rows without a value come last.
        down: whether the largest comes first.

    Raises:
        ViewError: for a filter or a column that the table does not have.
    """
    keeps = FILTERS[by].get(show)
    if keeps is None:
        raise ViewError(f"the table of {by} has no filter {show!r}; it has {', '.join(FILTERS[by])}")
    needle = text.lower()
    kept = [row for row in rows if keeps(row) and _holds(row, needle)]
    if kept and (sort not in kept[0] or sort == "documents"):
        raise ViewError(f"the table of {by} has no column {sort!r}")
    with_value = sorted((row for row in kept if row[sort] is not None), key=lambda row: row["text"])
    with_value.sort(key=lambda row: row[sort], reverse=down)
    return with_value + [row for row in kept if row[sort] is None]


def _holds(row: Row, needle: str) -> bool:
    return not needle or needle in row["text"].lower() or any(needle in name.lower() for name in row["documents"])
