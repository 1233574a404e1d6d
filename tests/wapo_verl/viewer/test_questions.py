"""Questions over a whole run: the tables, the index beside the records, and what happens to it while a run writes."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from support.recorded_run import completion, words, write_run

from wapo_verl.data.question_index import (
    INDEX_FILE,
    Entry,
    Group,
    add_entry,
    indexed_lines,
    question_id,
    read_entries,
    step_entry,
)
from wapo_verl.training.dump import index_dump
from wapo_verl.viewer.app import create_app
from wapo_verl.viewer.runs import open_runs

TABLE = "/api/runs/0/sets/rollouts/questions"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


def client(*runs: Path) -> TestClient:
    return TestClient(create_app(open_runs(list(runs)), None), base_url="http://localhost")


def known(asked: TestClient, path: str, **values: Any) -> dict[str, Any]:
    """The answer once all steps are read."""
    for _ in range(200):
        found: dict[str, Any] = asked.get(path, params=values).json()
        if found["known"] + len(found.get("errors", [])) == found["steps"]:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{found['known']} of {found['steps']} steps are known after 10 s")


def test_a_row_tells_of_all_steps(run: Path) -> None:
    found = known(client(run), TABLE, sort="winners", down=False)
    never, mixed = found["rows"]
    assert (mixed["text"], mixed["groups"], mixed["several"], mixed["winners"]) == ("Question 0?", 3, 3, 3)
    assert (mixed["first"], mixed["last"], mixed["first_step"], mixed["last_step"]) == (0.5, 0.5, 1, 3)
    assert (never["text"], never["winners"], never["highest"]) == ("Question 1?", 0, 0.0)
    assert (never["missed"], never["documents"]) == (12, ["Vonursel/birthplace"])


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ({"show": "never"}, ["Question 1?"]),
        ({"show": "wrong"}, ["Question 1?"]),
        ({"show": "right"}, []),
        ({"show": "worse"}, []),
        ({"q": "question 0"}, ["Question 0?"]),
        ({"q": "vonursel"}, ["Question 1?", "Question 0?"]),
        ({"sort": "last"}, ["Question 0?", "Question 1?"]),
        ({"start": 1, "sort": "last"}, ["Question 1?"]),
        ({"by": "documents"}, ["Vonursel/birthplace", "Losandor/author"]),
        ({"by": "documents", "show": "missed"}, ["Vonursel/birthplace"]),
        ({"by": "documents", "show": "always"}, []),
    ],
)
def test_tables_are_filtered_and_sorted(run: Path, values: dict[str, Any], texts: list[str]) -> None:
    assert [row["text"] for row in known(client(run), TABLE, **values)["rows"]] == texts


@pytest.mark.parametrize("values", [{"by": "x"}, {"show": "x"}, {"sort": "x"}, {"sort": "documents"}])
def test_what_a_table_does_not_have_is_said(run: Path, values: dict[str, str]) -> None:
    answer = client(run).get(TABLE, params=values)
    assert answer.status_code == 404
    assert "table" in answer.json()["error"]


def test_a_document_has_its_share_at_first_and_at_last(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=2)
    lines = [json.dumps(completion(0, sample, 1.0, words(0), 2)) for sample in range(4)]
    (run / "rollouts" / "2.jsonl").write_text("\n".join(lines) + "\n")
    (row,) = known(client(run), TABLE, by="documents", q="Vonursel")["rows"]
    assert (row["wanted"], row["missed"], row["questions"]) == (12, 6, 2)
    assert (row["share"], row["first"], row["last"]) == (0.5, 0.75, 0.0)
    assert (row["missing_groups"], row["groups"]) == (2, 3)


def test_a_question_is_known_in_every_run_that_is_open(tmp_path: Path) -> None:
    one, other = write_run(tmp_path / "one"), write_run(tmp_path / "other", steps=1)
    (other / "validation").mkdir()
    line = completion(0, 0, 1.0, words(0)) | {"input": "<|im_start|>user\nQuestion 0?<|im_end|>\n", "uid": "x_0_0"}
    (other / "validation" / "5.jsonl").write_text(json.dumps(line) + "\n")
    asked = client(one, other)
    found = known(asked, f"/api/questions/{question_id('Question 0?')}")
    assert [(place["run"], place["set"], len(place["groups"])) for place in found["places"]] == [
        (0, "rollouts", 3),
        (1, "rollouts", 1),
    ]
    assert found["places"][0]["groups"][1]["step"] == 2
    assert question_id("<|im_start|> user Q? <|im_end|>") == question_id("user Q?")
    assert known(asked, "/api/questions/none")["places"] == []


def test_the_trainers_line_and_the_viewers_are_the_same(run: Path) -> None:
    known(client(run), TABLE)
    made, _ = read_entries(run / "rollouts", 0)
    (run / "rollouts" / INDEX_FILE).unlink()
    file = run / "rollouts" / "3.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    columns = {name: [line[name] for line in lines] for name in ("input", "gts", "score", "uid", "episode")}
    index_dump(file, 3, indexed_lines(columns.pop("input"), columns.pop("gts"), columns.pop("score"), columns))
    ((entry,), _) = read_entries(run / "rollouts", 0)
    assert entry in made
    assert len(made) == 3


def test_an_index_is_read_and_no_record(run: Path) -> None:
    known(client(run), TABLE)
    for file in (run / "rollouts").glob("*.jsonl"):
        file.write_bytes(b"x" * file.stat().st_size)
    assert known(client(run), TABLE)["total"] == 2


def test_a_step_that_was_written_again_is_read_again(run: Path) -> None:
    asked = client(run)
    known(asked, TABLE)
    (run / "rollouts" / "3.jsonl").write_text(json.dumps(completion(7, 0, 1.0, words(0), 3)) + "\n")
    (run / "rollouts" / "1.jsonl").unlink()
    found = known(asked, TABLE, sort="groups", down=False)
    assert [(row["text"], row["groups"]) for row in found["rows"]] == [
        ("Question 0?", 1),
        ("Question 1?", 1),
        ("Question 7?", 1),
    ]


def test_damaged_lines_of_an_index_are_made_again(run: Path) -> None:
    size = (run / "rollouts" / "2.jsonl").stat().st_size
    add_entry(run / "rollouts", Entry(2, size, [Group("g", "x", "of another version")], version=99))
    with (run / "rollouts" / INDEX_FILE).open("ab") as file:
        file.write(b'{"step": 1, "si\n[]\n{"version": 1, "step": "x"}\n\xff\n')
    assert [row["groups"] for row in known(client(run), TABLE)["rows"]] == [3, 3]


def test_a_step_that_cannot_be_read_is_said_and_the_others_are_shown(run: Path) -> None:
    (run / "rollouts" / "2.jsonl").write_text('{"uid": "a"}\nno record\n{"uid": "b"}\n')
    found = known(client(run), TABLE)
    assert [row["groups"] for row in found["rows"]] == [2, 2]
    assert found["errors"][0].endswith("2.jsonl, line 2, is not JSON (Expecting value: line 1 column 1 (char 0))")


def test_a_folder_that_cannot_be_written_is_shown_all_the_same(run: Path) -> None:
    (run / "rollouts" / INDEX_FILE).mkdir()  # root may write into any folder, but not over a folder
    assert known(client(run), TABLE)["total"] == 2
    file = run / "rollouts" / "1.jsonl"
    index_dump(file, 1, [])  # nor does a run end


def test_failed_episodes_are_counted_apart() -> None:
    lines = [{"input": "q", "uid": "g_0_0", "score": score} for score in (1.0, None, float("nan"))]
    (group,) = step_entry(1, 10, lines).groups
    assert (group.scores, group.failed, group.gold) == ([1.0], 2, {})


def test_an_evaluation_is_one_step_and_gets_no_index(run: Path) -> None:
    asked = client(run / "rollouts" / "2.jsonl")
    assert known(asked, "/api/runs/0/sets/2/questions")["total"] == 2
    assert not (run / "rollouts" / INDEX_FILE).exists()
