"""Problems with short answers as they are shared: GSM8K, AMC, AIME, Minerva, Olympiad, or plain JSON lines of yours.

Each row is a problem and an answer. Where the answer is a worked solution, the result is what stands behind its last
`####` (GSM8K), else in its last box.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from wapo_verl.environments.environment import Example
from wapo_verl.environments.math.environment import MathEnvironment
from wapo_verl.environments.math.extraction import gold_of_solution
from wapo_verl.environments.raw_rows import RawRow

DATA_SOURCES = ("gsm8k", "amc23", "aime24", "aime25", "minerva_math", "olympiadbench")
"""Names under which these rows are reported; `wapo-verl eval aime24=FILE` reads FILE with this environment."""

_FOLDERS = ("", "data/", "main/", "default/")
_KINDS = (".jsonl", ".json", ".parquet", "-*.parquet")
_PROBLEMS = ("problem", "question", "Problem", "Question")
_ANSWERS = ("answer", "final_answer", "Answer")
_HASHES = re.compile(r"####[ \t]*(.+)")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


def _files(*names: str) -> tuple[str, ...]:
    return tuple(f"{folder}{name}{kind}" for name in names for folder in _FOLDERS for kind in _KINDS)


class MathRows(MathEnvironment):
    """The gold answer is a number, an expression, or what a worked solution ends with.

    Sets that are published as one split to test on, as AIME is, are often named "train": where there is no file of
    the test split, theirs is read.
    """

    name = "math_rows"
    data_sources = DATA_SOURCES
    splits = ("train", "test")
    upstream = "the data sets openai/gsm8k, math-ai/amc23, math-ai/aime24 and others on the Hugging Face hub"
    files: ClassVar[Mapping[str, tuple[str, ...]]] = {"train": _files("train"), "test": _files("test", "train")}

    def example(self, raw: RawRow) -> Example:
        """Read one problem; ``extra`` has its ``id``."""
        id_ = next((raw.values[name] for name in ("id", "unique_id", "ID") if raw.values.get(name) is not None), None)
        return Example(
            question=raw.text(*_PROBLEMS),
            answers=(_gold(raw),),
            extra={"id": str(raw.index if id_ is None else id_)},
        )


def _gold(raw: RawRow) -> str:
    """Return the gold answer of a row; raises RowError where there is none."""
    field = next((name for name in _ANSWERS if raw.values.get(name) is not None), None)
    if field is None:
        gold = gold_of_solution(raw.text("solution")) if raw.values.get("solution") is not None else None
        if gold is None:
            raise raw.error("answer", f"is missing; it is looked for as {', '.join(_ANSWERS)}, or boxed in solution")
        return gold
    value = raw.values[field]
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    text = _text(value)
    if text is None:
        raise raw.error(field, f"must be text or a number, not {value!r:.60}")
    if hashes := _HASHES.findall(text):
        return _THOUSANDS.sub("", hashes[-1]).strip()
    boxed = gold_of_solution(text)
    return boxed if boxed is not None else text


def _text(value: Any) -> str | None:
    """Return an answer as text, a whole number without decimals; None for what is neither text nor a number."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return (value.strip() or None) if isinstance(value, str) else None


ENVIRONMENT = MathRows()
