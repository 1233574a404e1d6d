"""NuminaMath-LEAN: the competition problems among its rows whose answer is a plain number.

It is published as one split. Rows are kept whose ``question_type`` is "math-word-problem" or "MCQ" and whose answer is
a whole number, a decimal or a fraction; after a seeded shuffle the first 1,000 are held out to test on. The formal
statements are left out.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from envs.environment import Example
from envs.math_environment import MathEnvironment
from envs.raw_rows import RawRow, read_rows

KINDS = ("math-word-problem", "MCQ")
_FILES = ("data/train-*.parquet", "train-*.parquet", "train.jsonl", "train.json", "train.parquet")
_PLAIN_NUMBER = re.compile(r"[+-]?(?:[0-9]+|[0-9]*\.[0-9]+|[0-9]+/0*[1-9][0-9]*)")


class NuminaMathLean(MathEnvironment):
    """Options, beside those of all mathematics environments:

    seed: of the shuffle.
    held_out: rows of the test split; half of the rows where there are fewer than twice as many.
    """

    name = "numinamath_lean"
    splits = ("train", "test")
    options: ClassVar[Mapping[str, Any]] = {**MathEnvironment.options, "seed": 0, "held_out": 1_000}
    hub_repo = "AI-MO/NuminaMath-LEAN"
    upstream = "the data set AI-MO/NuminaMath-LEAN on the Hugging Face hub"
    files: ClassVar[Mapping[str, tuple[str, ...]]] = {"train": _FILES, "test": _FILES}

    def problems(self, split: str, source: Path | None, options: Mapping[str, Any]) -> Iterator[Example]:
        """The split's part of all kept rows, in shuffled order."""
        rows = (raw for file in self.source_files(split, source) for raw in read_rows(file))
        kept = [self.example(raw) for raw in rows if raw.values.get("question_type") in KINDS and plain_answer(raw)]
        random.Random(options["seed"]).shuffle(kept)
        held_out = min(options["held_out"], len(kept) // 2)
        yield from kept[:held_out] if split == "test" else kept[held_out:]

    def example(self, raw: RawRow) -> Example:
        """One problem; ``extra``: its ``id`` and ``kind`` (the question's type)."""
        extra = {"id": raw.text("uuid"), "kind": raw.text("question_type")}
        return Example(question=raw.text("problem"), answers=(plain_answer(raw) or raw.text("answer"),), extra=extra)


def plain_answer(raw: RawRow) -> str | None:
    """The row's answer without thousands separators where it is a plain number, else None."""
    answer = raw.values.get("answer")
    text = re.sub(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))", "", answer.strip()) if isinstance(answer, str) else ""
    return text if _PLAIN_NUMBER.fullmatch(text) else None


ENVIRONMENT = NuminaMathLean()
