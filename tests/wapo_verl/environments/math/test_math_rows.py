"""The layouts in which GSM8K, AMC, AIME and others are shared, and what a malformed row ends with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wapo_verl.environments.environment import RowError
from wapo_verl.environments.registry import environment, environment_of


def read(folder: Path, split: str = "test") -> list[tuple[str, str]]:
    return [(example.question, example.answers[0]) for example in environment("math_rows").examples(split, folder)]


def lines(file: Path, *rows: dict[str, Any]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.mark.parametrize(
    ("row", "gold"),
    [
        ({"question": "q", "answer": "6 + 6 = 12\n#### 1,012"}, "1012"),
        ({"question": "q", "answer": "#### -3"}, "-3"),
        ({"problem": "q", "answer": 204}, "204"),
        ({"problem": "q", "answer": 142.0}, "142"),
        ({"problem": "q", "answer": 0.5}, "0.5"),
        ({"problem": "q", "answer": "033"}, "033"),
        ({"problem": "q", "answer": r"\frac{1}{2}"}, r"\frac{1}{2}"),
        ({"problem": "q", "answer": "(1,250)"}, "(1,250)"),  # a pair of numbers
        ({"problem": "q", "final_answer": ["$7$"]}, "$7$"),
        ({"Problem": "q", "Answer": 5}, "5"),
        ({"problem": "q", "solution": r"so $\boxed{9}$"}, "9"),
        ({"problem": "q", "answer": r"First ... so \boxed{9}."}, "9"),
    ],
)
def test_every_shape_of_an_answer(tmp_path: Path, row: dict[str, Any], gold: str) -> None:
    assert read(lines(tmp_path / "test.jsonl", row)) == [("q", gold)]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"problem": "q"}, "field 'answer': is missing"),
        ({"answer": "1"}, "field 'problem': is missing"),
        ({"problem": "q", "answer": True}, "must be text or a number, not True"),
        ({"problem": "q", "answer": " "}, "must be text or a number, not ' '"),
        ({"problem": "q", "final_answer": ["1", "2"]}, "field 'final_answer': must be text or a number"),
        ({"problem": "q", "solution": "so it is nine"}, "is missing"),
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(RowError, match=said):
        read(lines(tmp_path / "test.jsonl", row))


def test_folders_are_read_as_they_are_shared(tmp_path: Path) -> None:
    pq_file = tmp_path / "gsm8k" / "main" / "test-00000-of-00001.parquet"
    pq_file.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([{"question": "q", "answer": "#### 4"}]), pq_file)
    assert read(tmp_path / "gsm8k") == [("q", "4")]
    lines(tmp_path / "aime" / "data" / "train.jsonl", {"problem": "p", "answer": "073"})
    assert read(tmp_path / "aime") == [("p", "073")]  # published as one split


def test_gold_with_a_leading_zero_is_the_number() -> None:
    env = environment("math_rows")
    truth = {"answers": ["073"], "answer_format": "boxed", "match": "equivalent", "problem": "p"}
    row = {"reward_model": {"ground_truth": {**truth, "answers": ["73"]}}}
    assert env.score(env.gold_episode(row), truth)["score"] == 1.0


def test_the_sets_names_are_scored_by_it() -> None:
    for name in ("gsm8k", "aime24", "aime25", "amc23"):
        assert environment_of(name).name == "math_rows"
