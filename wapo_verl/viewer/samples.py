"""Samples of `wapo-verl eval` as the viewer reads completions: with their questions, and in a dump's keys."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from wapo_verl.data.episode_record import as_mapping
from wapo_verl.evaluation.questions import QUESTIONS_FILE, Question, read_questions
from wapo_verl.viewer.runs import ViewError


def is_sample(line: Mapping[str, Any]) -> bool:
    """Tell whether a line is of `wapo-verl eval`."""
    return {"version", "data_source", "question_id", "sample", "scores"} <= line.keys()


def as_record(sample: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Return a sample in a dump's keys; without its question's file the question is shown by its id.

    Args:
        sample: a line of `wapo-verl eval`.
        file: which holds it.

    Raises:
        ViewError: where the file of questions beside it is damaged.
    """
    source, name, scores = str(sample["data_source"]), str(sample["question_id"]), as_mapping(sample["scores"])
    question = _questions(file.parent / QUESTIONS_FILE).get((source, name))
    record = {key: value for key, value in sample.items() if key not in ("scores", "tokens")}
    return record | {
        "uid": f"{source}/{name}_{sample['sample']}_0",
        "environment": source,
        "input": name if question is None else "\n".join(str(message["content"]) for message in question.prompt),
        "gts": None if question is None else question.ground_truth,
        "score": scores.get("score"),
        "reward_parts": {part: value for part, value in scores.items() if part != "score"},
        "token_count": sample.get("tokens"),
    }


@lru_cache(maxsize=8)
def _questions(file: Path) -> Mapping[tuple[str, str], Question]:
    if not file.is_file():
        return {}
    try:
        return {(question.data_source, question.question_id): question for question in read_questions(file)}
    except ValueError as error:
        raise ViewError(str(error)) from error
