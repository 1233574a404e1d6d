"""MATH: its 7,500 training problems to train on, the 500 problems of MATH-500 to test on.

Reads MATH's own folder of one JSON file a problem, and the parquet or JSON-lines files of the Hugging Face hub. MATH's
full test split is left out: MATH-500 is drawn from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from wapo_verl.environments.environment import Example
from wapo_verl.environments.math.environment import MathEnvironment, one_row
from wapo_verl.environments.math.extraction import gold_of_solution
from wapo_verl.environments.raw_rows import RawRow

_TRAIN = "train/*/*.json MATH/train/*/*.json */train-*.parquet train-*.parquet train.jsonl train.json"
_TEST = "test.jsonl test-*.parquet data/test-*.parquet test.json test.parquet"


class Math500(MathEnvironment):
    """The gold answer is the field ``answer``, or else the last box of ``solution``, as MATH's own rows have it."""

    name = "math500"
    splits = ("train", "test")
    hub_repo = "HuggingFaceH4/MATH-500"  # the test split; hf://EleutherAI/hendrycks_math has MATH's train split
    upstream = "the MATH data set (github.com/hendrycks/math) and HuggingFaceH4/MATH-500 on the Hugging Face hub"
    files: ClassVar[Mapping[str, tuple[str, ...]]] = {"train": tuple(_TRAIN.split()), "test": tuple(_TEST.split())}

    def problems(self, split: str, source: Path | None, options: Mapping[str, Any]) -> Iterator[Example]:
        """Yield every row of the split's files; a file of MATH's own folder holds one."""
        for file in self.source_files(split, source):
            if file.suffix == ".json" and file.stem.isdecimal():
                yield self.example_of(one_row(file))
            else:
                yield from super().problems(split, file, options)

    def example(self, raw: RawRow) -> Example:
        """Read a problem; ``extra``: its ``id``, ``subject`` and ``level`` (1 to 5, 0 where MATH does not know it)."""
        has_answer = raw.values.get("answer") is not None
        gold = raw.text("answer") if has_answer else gold_of_solution(raw.text("solution"))
        if not gold:
            raise raw.error(
                "solution", r"holds no complete \boxed{..}, so it gives no gold answer; fix or drop the row"
            )
        level = re.search("[0-9]", str(raw.values.get("level", "")))
        extra: dict[str, str | int | float | bool] = {
            "id": str(raw.values.get("unique_id") or f"{raw.file.parent.name}/{raw.file.stem}/{raw.index}"),
            "subject": raw.text("subject", "type"),
            "level": int(level[0]) if level else 0,
        }
        return Example(question=raw.text("problem"), answers=(gold.strip(),), extra=extra)


ENVIRONMENT = Math500()
