"""Suites: which data sets a source holds, what is missing, and one table with a row a data set."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.samples import sample

from wapo_verl.environments.registry import environment_of
from wapo_verl.evaluation.comparison import compare
from wapo_verl.evaluation.reading import read_evaluation
from wapo_verl.evaluation.report import grids, markdown
from wapo_verl.evaluation.rows import Wanted, questions_of, wanted_rows
from wapo_verl.evaluation.suites import SUITES, suite


def test_every_data_set_of_a_suite_has_an_environment() -> None:
    for names in SUITES.values():
        for name in names:
            assert environment_of(name).splits[-1] == "test"


def line(file: Path, **row: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(row) + "\n")


def test_a_folder_holds_a_folder_or_a_file_for_each(tmp_path: Path) -> None:
    line(tmp_path / "nq" / "test.jsonl", id="1", question="q", golden_answers=["a"])
    line(tmp_path / "musique" / "dev.jsonl", id="1", question="q", golden_answers=["a"])
    line(tmp_path / "hotpotqa.jsonl", id="1", question="q", golden_answers=["a"])
    with pytest.raises(ValueError, match="triviaqa, popqa, 2wikimultihopqa, bamboogle missing"):
        suite("search", tmp_path)
    named, missing = suite("search", tmp_path, skip_missing=True)
    assert named == [
        f"nq={tmp_path}/nq/test.jsonl",
        f"searchR1_hotpotqa={tmp_path}/hotpotqa.jsonl",
        f"musique={tmp_path}/musique/dev.jsonl",
    ]
    assert missing == ["triviaqa", "popqa", "2wikimultihopqa", "bamboogle"]


def test_one_file_may_hold_them_all(tmp_path: Path) -> None:
    rows = [
        {"id": f"{name}_{place}", "question": f"{name} {place}?", "golden_answers": ["a"], "data_source": name}
        for name in ("nq", "hotpotqa")
        for place in range(3)
    ]
    file = tmp_path / "test.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    named, missing = suite("search", file, skip_missing=True)
    assert [text.partition("=")[0] for text in named] == ["nq", "searchR1_hotpotqa"]
    assert len(missing) == 5
    wanted = wanted_rows(named, options={}, limit=2)
    assert [each.name for each in wanted] == ["nq", "searchR1_hotpotqa"]


def test_rows_of_a_data_set_have_its_name(tmp_path: Path) -> None:
    line(tmp_path / "aime24" / "test.jsonl", id="1", problem="p", answer=204)
    questions, record = questions_of(Wanted("aime24", str(tmp_path / "aime24")), tmp_path / "work")
    assert [question.data_source for question in questions] == ["aime24"]
    assert record.questions == 1


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("code", ".", "there is no suite 'code'; the suites are search, math"),
        ("math", "gone", "there is no gone: give --source"),
        ("math", ".", "is not complete in"),
    ],
)
def test_what_cannot_be_found_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=said):
        suite(name, Path(source), skip_missing=name == "math")


def test_one_table_has_a_row_a_data_set(tmp_path: Path) -> None:
    made = [
        sample(question, number, float(number < wins), data_source=name, scores={"score": float(number < wins)})
        for name, wins in (("aime24", 1), ("gsm8k", 2))
        for question in range(10)
        for number in range(2)
    ]
    file = tmp_path / "samples.jsonl"
    file.write_bytes(b"".join(each.line() for each in made))
    found = compare([read_evaluation(file)])
    (grid,) = grids(found)
    assert [row[0] for row in grid.rows] == ["aime24", "gsm8k", "average"]
    assert grid.rows[0][4].startswith("0.500 ± 0.000 [")
    assert grid.rows[2][4] == "0.750 ± 0.000"
    assert "| average |" in markdown(found)
