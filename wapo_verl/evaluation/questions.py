"""The questions of an evaluation, beside its samples: one JSON line a question, a veRL row and its id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from wapo_verl.evaluation.records import row_hash

QUESTIONS_FILE = "questions.jsonl"


@dataclass(frozen=True, slots=True)
class Question:
    """One row that is evaluated.

    Attributes:
        data_source: the environment's name.
        question_id: unique within it: the row's own id, else its split and place there.
        row: `row_hash` of what is asked and what counts as right.
        prompt: the chat messages.
        ground_truth: what the verifier gets to know.
        extra_info: the row's.
        agent_name: the agent loop that plays it.
    """

    data_source: str
    question_id: str
    row: str
    prompt: list[dict[str, str]]
    ground_truth: Any
    extra_info: Mapping[str, Any]
    agent_name: str

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Question:
        """Take a veRL row as `wapo-verl prepare` writes it."""
        extra, truth = row["extra_info"], row["reward_model"]["ground_truth"]
        return cls(
            data_source=row["data_source"],
            question_id=str(extra.get("id") or f"{extra['split']}/{extra['index']}"),
            row=row_hash(row["data_source"], extra.get("question", row["prompt"]), truth),
            prompt=row["prompt"],
            ground_truth=truth,
            extra_info=extra,
            agent_name=row["agent_name"],
        )


def refuse_same_ids(questions: Iterable[Question]) -> None:
    """Refuse questions of one data source with the same id.

    Raises:
        ValueError: naming the first such id.
    """
    seen: set[tuple[str, str]] = set()
    for question in questions:
        key = (question.data_source, question.question_id)
        if key in seen:
            raise ValueError(
                f"two rows of {question.data_source} have the id {question.question_id!r}; give each one its own, or "
                "take one of them out"
            )
        seen.add(key)


def write_questions(questions: Iterable[Question], file: Path) -> None:
    """Write one line a question."""
    file.write_bytes(b"".join(orjson.dumps(question, option=orjson.OPT_APPEND_NEWLINE) for question in questions))


def read_questions(file: Path) -> Iterator[Question]:
    """Read them back, in order.

    Raises:
        ValueError: naming file and line, for one that is no question.
        OSError: when the file cannot be read.
    """
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                yield Question(**orjson.loads(line))
            except (TypeError, orjson.JSONDecodeError) as error:
                raise ValueError(f"{file}, line {number}, is no question ({error}); evaluate anew") from error
