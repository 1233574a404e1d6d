"""`prepare` as a function: what it writes is what veRL reads, and an error loses nothing. No torch, no veRL."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
from support.paths import DATA, ROOT

from wapo_verl.data import parquet as row_files
from wapo_verl.data import prepare as module
from wapo_verl.data.json_lines import read_json_lines
from wapo_verl.data.parquet import write_parquet
from wapo_verl.data.prepare import Request, parse_settings, prepare
from wapo_verl.environments.environment import RowError
from wapo_verl.environments.registry import environment


def sample(name: str) -> Path:
    source = environment(name).sample_source()
    assert source
    return source


def row(index: int, **extra: Any) -> dict[str, Any]:
    return {
        "data_source": "ottqa",
        "prompt": [{"role": "user", "content": "Where?"}],
        "ability": "retrieval_qa",
        "reward_model": {"style": "rule", "ground_truth": {"answers": ["Vesk"], "document_ids": []}},
        "extra_info": {"index": index, "split": "train", **extra},
        "agent_name": "search_agent",
    }


@pytest.mark.parametrize("name", ["hotpotqa", "math500", "numinamath_lean", "ottqa"])
def test_parquet_read_back_is_the_rows(name: str, tmp_path: Path) -> None:
    env, source = environment(name), sample(name)
    written = prepare(Request(name, tmp_path / "out", source))
    assert [(item.content, item.file) for item in written] == [
        (split, tmp_path / "out" / f"{split}.parquet") for split in env.splits
    ]
    for item in written:
        rows = [env.row(example, item.content, i) for i, example in enumerate(env.examples(item.content, source))]
        loaded = datasets.load_dataset(
            "parquet", data_files=str(item.file), cache_dir=str(tmp_path / "cache"), split="train"
        )
        assert list(loaded) == rows
        assert item.rows == len(rows)
        assert str(source) in item.made_from
    files = sorted(file.name for file in (tmp_path / "out").glob("*.parquet"))
    assert files == sorted(f"{split}.parquet" for split in env.splits)


def test_a_generated_environment_gets_its_documents_too(tmp_path: Path) -> None:
    written = prepare(Request("miniwiki", tmp_path, seed=3, limit=5))
    assert {item.content for item in written} == {*environment("miniwiki").splits, "documents"}
    assert {item.rows for item in written if item.content != "documents"} == {5}
    documents = read_json_lines(tmp_path / "documents.jsonl")
    assert {tuple(document) for document in documents} == {("id", "title", "text")}
    ids = {document["id"] for document in documents}
    for split in environment("miniwiki").splits:
        for found in pq.read_table(tmp_path / f"{split}.parquet").to_pylist():
            assert ids.issuperset(found["reward_model"]["ground_truth"]["document_ids"])
    other = prepare(Request("miniwiki", tmp_path / "other", seed=4, limit=5))
    assert other[0].file.read_bytes() != written[0].file.read_bytes()


def test_limit_takes_the_first_and_with_a_seed_a_draw_in_order(tmp_path: Path) -> None:
    source = sample("hotpotqa")

    def indices(**request: Any) -> list[int]:
        written = prepare(Request("hotpotqa", tmp_path, source, splits=("train",), **request))
        return [found["index"] for found in pq.read_table(written[0].file)["extra_info"].to_pylist()]

    assert indices(limit=2) == [0, 1]
    assert indices(limit=9) == [0, 1, 2]
    draws = [indices(limit=2, seed=seed) for seed in range(8)]
    assert draws == [indices(limit=2, seed=seed) for seed in range(8)]
    assert len(set(map(tuple, draws))) > 1
    assert all(draw == sorted(set(draw)) for draw in draws)


def test_the_draw_is_uniform() -> None:
    items: list[Any] = [(index, None) for index in range(6)]
    generator = random.Random(0)
    counts = Counter(index for _ in range(3000) for index, _ in module._draw(items, 2, generator))
    assert all(abs(count - 1000) < 120 for count in counts.values())  # 4.6 standard deviations


def test_batches_share_one_schema_whatever_the_first_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_files, "BATCH_ROWS", 2)
    rows = [row(index) for index in range(5)]
    rows[4]["reward_model"]["ground_truth"]["document_ids"] = ["t"]
    lines: list[str] = []
    assert write_parquet(rows, tmp_path / "rows.parquet", "ottqa train", lines.append) == 5
    assert pq.read_table(tmp_path / "rows.parquet").to_pylist() == rows
    assert lines == ["ottqa train: 2 rows", "ottqa train: 4 rows", "ottqa train: 5 rows"]


def test_a_row_unlike_the_first_stops_the_writing(tmp_path: Path) -> None:
    with pytest.raises(RowError, match="ottqa train, row 1, field 'extra_info': has not the same keys"):
        write_parquet([row(0), row(1, kind="bridge")], tmp_path / "rows.parquet", "ottqa train")


def test_a_malformed_row_leaves_everything_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(Request("hotpotqa", out, sample("hotpotqa")))
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    source = tmp_path / "source"
    source.mkdir()
    good = json.loads((sample("hotpotqa") / "hotpot_train_v1.1.json").read_text())
    (source / "hotpot_train_v1.1.json").write_text(json.dumps(good[:1]))
    del good[2]["answer"]
    (source / "hotpot_dev_distractor_v1.json").write_text(json.dumps(good))
    with pytest.raises(RowError, match=r"hotpot_dev_distractor_v1\.json, row 2, field 'answer'"):
        prepare(Request("hotpotqa", out, source))
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        ({"name": "hotpot"}, "no environment 'hotpot'"),
        ({"limit": 0}, "--limit must be at least 1, not 0"),
        ({"seed": 1}, "--seed draws the rows that --limit keeps of hotpotqa"),
        ({"options": {"colour": "red"}}, "'hotpotqa' has no option 'colour'"),
        ({"source": None}, "give --source with a file or folder"),
        ({"splits": ("dev", "dev")}, "a split was given twice"),
        ({"splits": ("test",)}, "published without answers"),
        ({"name": "miniwiki", "source": None, "seed": 1, "options": {"seed": "2"}}, "by --seed and by --set"),
    ],
)
def test_a_request_that_cannot_be_met_is_explained(request_: dict[str, Any], problem: str, tmp_path: Path) -> None:
    request = {"name": "hotpotqa", "out": tmp_path, "source": sample("hotpotqa"), **request_}
    with pytest.raises(ValueError, match=problem):
        prepare(Request(**request))
    assert list(tmp_path.iterdir()) == []


def test_one_file_is_one_split(tmp_path: Path) -> None:
    file = sample("hotpotqa") / "hotpot_train_v1.1.json"
    assert [item.content for item in prepare(Request("hotpotqa", tmp_path, file, splits=("dev",)))] == ["dev"]
    with pytest.raises(ValueError, match="is one file: say with --split"):
        prepare(Request("hotpotqa", tmp_path, file))
    with pytest.raises(ValueError, match="cannot be train and dev at once"):
        prepare(Request("hotpotqa", tmp_path, file, splits=("train", "dev")))


def test_a_source_without_rows_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "dev.json").write_text("[]")
    with pytest.raises(ValueError, match="hotpotqa dev has no rows"):
        prepare(Request("hotpotqa", tmp_path / "out", tmp_path))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_of_a_file_a_problem_is_named_by_its_first(tmp_path: Path) -> None:
    folder = tmp_path / "MATH" / "train" / "algebra"
    folder.mkdir(parents=True)
    problem = {"problem": "What?", "solution": "\\boxed{1}", "level": "Level 1", "type": "Algebra"}
    for number in range(20):
        (folder / f"{number}.json").write_text(json.dumps(dict(problem, problem=f"What is {number}?")))
    (written,) = prepare(Request("math500", tmp_path / "out", tmp_path, options={"answer_format": "boxed"}))
    assert (written.rows, written.made_from) == (20, f"{folder / '0.json'} and 19 more files")


def test_settings_are_key_value() -> None:
    assert parse_settings(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}
    for bad in (["a"], ["=1"], ["a=1", "a=2"]):
        with pytest.raises(ValueError, match="--set"):
            parse_settings(bad)


@pytest.mark.parametrize(("name", "count"), [("ottqa", 1500), ("hotpotqa", 50)])
def test_the_shared_rows_are_written(name: str, count: int, tmp_path: Path) -> None:
    if not (DATA / name).is_dir():
        pytest.skip(f"no real {name} rows in {DATA}")
    (written,) = prepare(Request(name, tmp_path, DATA / name))
    assert (written.content, written.rows) == ("dev", count)
    assert pq.read_metadata(written.file).num_rows == count


def test_neither_torch_nor_verl_is_imported() -> None:
    code = (
        "import sys, wapo_verl.cli.app, wapo_verl.data.prepare, wapo_verl.environments.registry as r; "
        "r.environments(); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"torch", "verl", "transformers", "ray"}.isdisjoint(done.stdout.split())
