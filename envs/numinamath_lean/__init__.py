"""NuminaMath-LEAN: the competition problems among its rows whose answer is a plain number.

It is published as one split. Rows are kept whose ``question_type`` is "math-word-problem" or "MCQ" and whose answer is
a whole number, a decimal or a fraction; after a seeded shuffle the first 1,000 are held out to test on. The formal
statements are left out. `published_split` makes the split of WAPO's published runs, so that nobody trains on their test
rows: their rule for a number, and the shuffle of the package `datasets` with seed 42.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from wapo_verl.environments.environment import Example
from wapo_verl.environments.math.environment import MathEnvironment
from wapo_verl.environments.raw_rows import RawRow, read_rows

KINDS = ("math-word-problem", "MCQ")
OTHER_KIND, NO_NUMBER = "other_question_type", "answer_no_plain_number"
_FILES = ("data/train-*.parquet", "train-*.parquet", "train.jsonl", "train.json", "train.parquet")
_PLAIN_NUMBER = re.compile(r"[+-]?(?:[0-9]+|[0-9]*\.[0-9]+|[0-9]+/0*[1-9][0-9]*)")
_THEIR_NUMBER = re.compile(r"[+-]?(?:\d+|\d+\.\d+|\d+/\d+)")


class NuminaMathLean(MathEnvironment):
    """Competition problems with a plain number as their answer.

    Options, beside those of all mathematics environments:
        seed: of the shuffle.
        held_out: rows of the test split; half of the rows where there are fewer than twice as many.
        published_split: whether the rows are split as in WAPO's published runs, in which `seed` says nothing.
    """

    name = "numinamath_lean"
    splits = ("train", "test")
    options: ClassVar[Mapping[str, Any]] = {
        **MathEnvironment.options,
        "seed": 0,
        "held_out": 1_000,
        "published_split": False,
    }
    least: ClassVar[Mapping[str, int]] = {"held_out": 1}
    hub_repo = "AI-MO/NuminaMath-LEAN"
    upstream = "the data set AI-MO/NuminaMath-LEAN on the Hugging Face hub"
    files: ClassVar[Mapping[str, tuple[str, ...]]] = {"train": _FILES, "test": _FILES}

    def problems(self, split: str, source: Path | None, options: Mapping[str, Any]) -> Iterator[Example]:
        """Read the split's part of all kept rows, in shuffled order."""
        published = options["published_split"]
        keeps = is_in_the_published_rows if published else lambda raw: left_out_as(raw) is None
        rows = [raw for raw in self._rows(split, source) if keeps(raw)]
        if published:  # as `datasets.Dataset.shuffle(seed=42)` orders them
            rows = [rows[place] for place in np.random.default_rng(42).permutation(len(rows))]
        else:
            random.Random(options["seed"]).shuffle(rows)
        held_out = min(options["held_out"], len(rows) // 2)
        chosen = rows[:held_out] if split == "test" else rows[held_out:]
        yield from (self.example_of(raw) for raw in chosen if left_out_as(raw) is None)

    def selection(self, split: str, source: Path | None, **options: Any) -> dict[str, str | int]:
        """Count the rows that were read, those left out by reason, and those of the rest that are held out."""
        test = sum(1 for _ in self.problems("test", source, self.resolve_options(options)))
        reasons = Counter(left_out_as(raw) for raw in self._rows(split, source))
        return {
            "kept": f"question_type {' or '.join(KINDS)}, answer a plain number",
            "rows_read": reasons.total(),
            OTHER_KIND: reasons[OTHER_KIND],
            NO_NUMBER: reasons[NO_NUMBER],
            "held_out": test,
        }

    def _rows(self, split: str, source: Path | None) -> Iterator[RawRow]:
        return (raw for file in self.source_files(split, source) for raw in read_rows(file))

    def example(self, raw: RawRow) -> Example:
        """Read one problem; ``extra``: its ``id`` and ``kind`` (the question's type)."""
        extra = {"id": raw.text("uuid"), "kind": raw.text("question_type")}
        return Example(question=raw.text("problem"), answers=(plain_answer(raw) or raw.text("answer"),), extra=extra)


def is_in_the_published_rows(raw: RawRow) -> bool:
    """Tell whether WAPO's published runs kept a row: a number, whatever commas and spaces stand in it."""
    problem, answer = raw.values.get("problem"), raw.values.get("answer")
    text = "" if answer is None else str(answer).strip().replace(",", "").replace(" ", "")
    kind = raw.values.get("question_type")
    return kind in KINDS and isinstance(problem, str) and bool(problem.strip()) and bool(_THEIR_NUMBER.fullmatch(text))


def left_out_as(raw: RawRow) -> str | None:
    """Tell why a row is left out, ``OTHER_KIND`` or ``NO_NUMBER``; None for one that is kept."""
    if raw.values.get("question_type") not in KINDS:
        return OTHER_KIND
    return None if plain_answer(raw) else NO_NUMBER


def plain_answer(raw: RawRow) -> str | None:
    """Return the row's answer without thousands separators where it is a plain number, else None."""
    answer = raw.values.get("answer")
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        answer = str(answer)
    text = re.sub(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))", "", answer.strip()) if isinstance(answer, str) else ""
    return text if _PLAIN_NUMBER.fullmatch(text) else None


ENVIRONMENT = NuminaMathLean()
