"""Finds questions that are trained on and tested on: the same words, whatever their case and spacing.

Paraphrases, and documents that both splits are about, are not found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

TRAIN = "train"


def question_key(question: str) -> bytes:
    """Return 16 bytes that two questions share if and (but for one in 2^64) only if they are the same words."""
    return hashlib.blake2b(
        " ".join(question.casefold().split()).encode("utf-8", "surrogatepass"), digest_size=16
    ).digest()


@dataclass(frozen=True, slots=True)
class Place:
    """A question's row in a split, counted from 0."""

    split: str
    row: int


def questions_in(file: Path) -> Iterator[str]:
    """Read the questions of a parquet file of rows, in order."""
    for batch in pq.ParquetFile(file).iter_batches(columns=["extra_info.question"]):
        yield from batch.column("extra_info").field("question").to_pylist()


class TestedQuestions:
    """The questions of all splits that are not trained on."""

    __test__ = False  # not a test class, whatever its name

    def __init__(self) -> None:
        self._places: dict[bytes, Place] = {}

    def add(self, question: str, split: str, row: int) -> None:
        """Remember a question; of equal ones the first."""
        self._places.setdefault(question_key(question), Place(split, row))

    def find(self, question: str) -> Place | None:
        """Return where the question is tested on, or None."""
        return self._places.get(question_key(question))


def refuse_overlap(tested: TestedQuestions, trained: Iterator[str], environment: str) -> None:
    """Raise ValueError when a question that is trained on is tested on, naming the first and how many there are."""
    shared = [(row, place, text) for row, text in enumerate(trained) if (place := tested.find(text)) is not None]
    if shared:
        row, place, text = shared[0]
        others = f", and {len(shared) - 1:,} more questions are in both" if len(shared) > 1 else ""
        shown = text if len(text) <= 80 else f"{text[:77]}..."
        raise ValueError(
            f"row {row} of {environment} train asks what row {place.row} of {place.split} asks ({shown!r}){others}: "
            "prepare both at once with --drop-overlap, which leaves them out of train"
        )
