"""OTT-QA's and HotpotQA's files, in every layout they are published in; malformed rows are named."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wapo_verl.environments.environment import Environment, Example, RowError
from wapo_verl.environments.registry import environment

SAMPLES = {name: environment(name).sample_source() for name in ("ottqa", "hotpotqa")}
FILES = {
    "ottqa": {"train": "released_data/train.json", "dev": "released_data/dev.traced.json"},
    "hotpotqa": {"train": "hotpot_train_v1.1.json", "dev": "hotpot_dev_distractor_v1.json"},
}


def sample_rows(name: str, split: str) -> list[dict[str, Any]]:
    folder = SAMPLES[name]
    assert folder is not None
    return json.loads((folder / FILES[name][split]).read_text())


def hugging_face(row: dict[str, Any]) -> dict[str, Any]:
    """An official HotpotQA row in the Hugging Face schema."""
    changed = dict(row, id=row["_id"])
    del changed["_id"]
    changed["supporting_facts"] = {
        "title": [title for title, _ in row["supporting_facts"]],
        "sent_id": [number for _, number in row["supporting_facts"]],
    }
    changed["context"] = {
        "title": [title for title, _ in row["context"]],
        "sentences": [sentences for _, sentences in row["context"]],
    }
    return changed


def read(env: Environment, split: str, source: Path) -> list[Example]:
    return list(env.examples(split, source))


def write_parquet(rows: list[dict[str, Any]], file: Path) -> None:
    pq.write_table(pa.Table.from_pylist(rows), file)


def write_json(rows: list[dict[str, Any]], file: Path) -> None:
    file.write_text(json.dumps(rows))


def write_lines(rows: list[dict[str, Any]], file: Path) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("split", ["train", "dev"])
@pytest.mark.parametrize(
    ("suffix", "write"), [("json", write_json), ("jsonl", write_lines), ("parquet", write_parquet)]
)
def test_hugging_face_rows_read_as_the_official_ones(
    suffix: str, write: Callable[[list[dict[str, Any]], Path], None], split: str, tmp_path: Path
) -> None:
    env, official = environment("hotpotqa"), sample_rows("hotpotqa", split)
    file = tmp_path / f"any_name.{suffix}"
    write([hugging_face(row) for row in official], file)
    write_json(official, tmp_path / "official.json")
    assert read(env, split, file) == read(env, split, tmp_path / "official.json") != []


def test_the_hub_folder_is_read_shard_by_shard(tmp_path: Path) -> None:
    rows = [hugging_face(row) for row in sample_rows("hotpotqa", "train")]
    (tmp_path / "distractor").mkdir()
    write_parquet(rows[:2], tmp_path / "distractor" / "train-00000-of-00002.parquet")
    write_parquet(rows[2:], tmp_path / "distractor" / "train-00001-of-00002.parquet")
    env = environment("hotpotqa")
    assert env.available_splits(tmp_path) == ("train",)
    assert [example.extra["id"] for example in read(env, "train", tmp_path)] == [row["id"] for row in rows]


def test_hotpotqa_gold_documents_are_the_supporting_titles() -> None:
    assert SAMPLES["hotpotqa"]
    first = read(environment("hotpotqa"), "dev", SAMPLES["hotpotqa"])[0]
    assert first.document_ids == ("Orlin Harbour", "Vesk")
    promises = {"max_turns": 10, "queries_per_call": 3, "announce_budget": False}
    assert first.extra == {"id": "sample-dev-0", "kind": "bridge", **promises}


def test_ottqa_gold_documents_are_the_table_and_the_traced_passages() -> None:
    assert SAMPLES["ottqa"]
    env = environment("ottqa")
    traced = [(example.document_ids, example.extra["kind"]) for example in read(env, "dev", SAMPLES["ottqa"])]
    assert traced == [
        (("Ferries_of_Tarn_0", "/wiki/Orlin_Harbour"), "passage"),
        (("Ferries_of_Tarn_0",), "table"),
        (("Ferries_of_Tarn_0", "/wiki/Orlin_Harbour"), "both"),
    ]
    untraced = read(env, "train", SAMPLES["ottqa"])
    assert {(example.document_ids, example.extra["kind"]) for example in untraced} == {
        (("Ferries_of_Tarn_0",), "untraced")
    }


def test_traced_and_gzipped_files_are_found_first_and_too(tmp_path: Path) -> None:
    env, rows = environment("ottqa"), sample_rows("ottqa", "dev")
    write_json(sample_rows("ottqa", "train"), tmp_path / "dev.json")
    assert len(read(env, "dev", tmp_path)) == 2
    (tmp_path / "dev.traced.json.gz").write_bytes(gzip.compress(json.dumps(rows).encode()))
    assert len(read(env, "dev", tmp_path)) == 3


@pytest.mark.parametrize("name", ["ottqa", "hotpotqa"])
def test_documents_hold_the_gold_ones(name: str) -> None:
    source = SAMPLES[name]
    assert source
    env = environment(name)
    for split in ("train", "dev"):
        place = source if name == "ottqa" else source / FILES[name][split]
        ids = {document.id for document in env.documents(place)}
        assert all(ids.issuperset(example.document_ids) for example in read(env, split, source))


@pytest.mark.parametrize("name", ["ottqa", "hotpotqa"])
def test_the_test_split_is_refused(name: str) -> None:
    env, source = environment(name), SAMPLES[name]
    with pytest.raises(ValueError, match=r"test split of .* is published without answers.*use train or dev"):
        read(env, "test", source or Path())


def test_a_file_without_answers_is_refused_as_any_split() -> None:
    assert SAMPLES["hotpotqa"]
    with pytest.raises(RowError, match=r"fullwiki_v1\.json, row 0, field 'answer': is missing"):
        read(environment("hotpotqa"), "dev", SAMPLES["hotpotqa"] / "hotpot_test_fullwiki_v1.json")


@pytest.mark.parametrize("name", ["ottqa", "hotpotqa"])
def test_a_source_that_cannot_be_read_is_explained(name: str, tmp_path: Path) -> None:
    env = environment(name)
    with pytest.raises(ValueError, match="give --source with a file or folder from https://"):
        list(env.examples("dev", None))
    with pytest.raises(ValueError, match="there is no file or folder"):
        read(env, "dev", tmp_path / "gone")
    with pytest.raises(ValueError, match="holds no dev split of"):
        read(env, "dev", tmp_path)
    with pytest.raises(ValueError, match="has no split 'validation'"):
        read(env, "validation", tmp_path)
    with pytest.raises(ValueError, match="say with --split which of train, dev it is"):
        env.available_splits(Path(__file__))
    with pytest.raises(ValueError, match="documents are read from"):
        env.documents(None)


DROPPED = object()
BAD_FIELDS: list[tuple[str, str, Any]] = [
    ("ottqa", "question", DROPPED),
    ("ottqa", "question", " "),
    ("ottqa", "question_id", 12),
    ("ottqa", "table_id", None),
    ("ottqa", "answer-text", ["Vesk"]),
    ("ottqa", "answer-node", "passage"),
    ("ottqa", "answer-node", [["Vesk", [0, 1], None]]),
    ("ottqa", "answer-node", [["Vesk", [0, 1], None, "passage"]]),
    ("ottqa", "answer-node", [["Vesk", [0, 1], "Vesk", "passage"]]),
    ("ottqa", "answer-node", [["Vesk", [0, 1], None, "picture"]]),
    ("hotpotqa", "_id", DROPPED),
    ("hotpotqa", "question", None),
    ("hotpotqa", "answer", ""),
    ("hotpotqa", "type", 1),
    ("hotpotqa", "supporting_facts", DROPPED),
    ("hotpotqa", "supporting_facts", []),
    ("hotpotqa", "supporting_facts", [["Vesk"]]),
    ("hotpotqa", "supporting_facts", [[3, 0]]),
    ("hotpotqa", "supporting_facts", {"title": ["Vesk"], "sent_id": []}),
    ("hotpotqa", "supporting_facts", {"title": [], "sent_id": []}),
]


@pytest.mark.parametrize(("name", "field", "value"), BAD_FIELDS)
def test_a_malformed_row_names_file_row_and_field(name: str, field: str, value: Any, tmp_path: Path) -> None:
    rows = sample_rows(name, "dev")
    if value is DROPPED:
        del rows[1][field]
    else:
        rows[1][field] = value
    file = tmp_path / "bad.json"
    write_json(rows, file)
    with pytest.raises(RowError) as raised:
        read(environment(name), "dev", file)
    assert (raised.value.file, raised.value.row, raised.value.field) == (str(file), 1, field)
