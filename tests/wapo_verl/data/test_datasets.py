"""Where rows come from and what stands beside them: hub, folder, file; manifests; train held against test. No network.

The hub's own library runs here offline, on its own cache's layout: what a download leaves behind.
"""

import json
import shutil
from pathlib import Path

import pytest

from wapo_verl.data.manifest import DataManifest, FileRecord, check, manifests, read_manifest
from wapo_verl.data.prepare import Request, prepare
from wapo_verl.environments.hub import HubSource, parse_source
from wapo_verl.environments.registry import environment

COMMIT, LATER = "1" * 40, "2" * 40


def hotpotqa_row(number: int, question: str) -> dict:
    return {
        "id": f"q{number}",
        "question": question,
        "answer": "yes",
        "type": "bridge",
        "level": "easy",
        "supporting_facts": {"title": ["Fox"], "sent_id": [0]},
        "context": {"title": ["Fox"], "sentences": [["A fox."]]},
    }


def write_rows(file: Path, questions: list[str]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(hotpotqa_row(*item)) + "\n" for item in enumerate(questions)))
    return file


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub library's cache as two downloads of hotpotqa/hotpot_qa leave it, and no network."""
    from huggingface_hub import constants

    cache = tmp_path / "hub"
    repo = cache / "datasets--hotpotqa--hotpot_qa"
    for commit, suffix in ((COMMIT, "?"), (LATER, " now?")):
        folder = repo / "snapshots" / commit
        write_rows(folder / "train.jsonl", [f"Where is {place}{suffix}" for place in ("Rome", "Oslo")])
        write_rows(folder / "validation.jsonl", [f"Where is Lima{suffix}"])
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return repo


def questions(folder: Path, split: str) -> list[str]:
    import pyarrow.parquet as pq

    return [row["extra_info"]["question"] for row in pq.read_table(folder / f"{split}.parquet").to_pylist()]


def test_hub_folder_and_file_give_the_same_rows(hub: Path, tmp_path: Path) -> None:
    snapshot = hub / "snapshots" / COMMIT
    prepare(Request("hotpotqa", tmp_path / "hub_rows", "hub"))
    prepare(Request("hotpotqa", tmp_path / "folder_rows", str(snapshot)))
    prepare(Request("hotpotqa", tmp_path / "file_rows", snapshot / "train.jsonl", splits=("train",)))
    for split in ("train", "dev"):
        assert questions(tmp_path / "hub_rows", split) == questions(tmp_path / "folder_rows", split)
    assert questions(tmp_path / "file_rows", "train") == questions(tmp_path / "hub_rows", "train")


def test_the_commit_is_recorded_and_kept(hub: Path, tmp_path: Path) -> None:
    """What "main" is may change between two preparations of one folder; what its files are of does not."""
    out = tmp_path / "rows"
    prepare(Request("hotpotqa", out, "hub", splits=("dev",)))
    (hub / "refs" / "main").write_text(LATER)
    prepare(Request("hotpotqa", out, "hub"))
    assert {(item.repo, item.revision) for item in manifests(out)} == {("hotpotqa/hotpot_qa", COMMIT)}
    prepare(Request("hotpotqa", out, f"hub@{LATER}"))
    assert {item.revision for item in manifests(out)} == {LATER}
    assert questions(out, "dev") == ["Where is Lima now?"]


def test_what_the_hub_does_not_give_is_one_sentence(hub: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^the data set some/thing at revision v1 did not come .*name their folder$"):
        prepare(Request("hotpotqa", tmp_path / "rows", "hf://some/thing@v1"))
    assert not (tmp_path / "rows").exists()
    with pytest.raises(ValueError, match="no data set on the Hugging Face hub"):
        prepare(Request("ottqa", tmp_path / "rows", "hub"))


def test_only_the_files_that_are_read_are_asked_for() -> None:
    patterns = environment("hotpotqa").file_patterns(("dev",))
    assert {"hotpot_dev_distractor_v*.json", "distractor/validation-*.parquet", "dev.jsonl.gz"} <= set(patterns)
    assert not any("train" in pattern for pattern in patterns)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("hub", HubSource("a/b")),
        ("hub@abc", HubSource("a/b", "abc")),
        ("hf://c/d", HubSource("c/d")),
        ("hf://c/d@v1.0", HubSource("c/d", "v1.0")),
        ("hub/train.json", Path("hub/train.json")),
        ("./folder@home", Path("./folder@home")),
    ],
)
def test_a_source_is_a_path_or_a_hubs(text: str, source: Path | HubSource) -> None:
    assert parse_source(text, "a/b") == source


@pytest.mark.parametrize("text", ["hf://c", "hf://c/d/e", "hf:///d"])
def test_a_malformed_hub_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="hf://owner/name"):
        parse_source(text, None)


def test_the_manifest_says_how_the_file_was_made(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "train.jsonl", [f"Question {number}?" for number in range(9)])
    out = tmp_path / "rows"
    prepare(Request("hotpotqa", out, source, splits=("train",), limit=4, seed=7))
    (manifest,) = check(out)
    assert (manifest.environment, manifest.split, manifest.rows) == ("hotpotqa", "train", 4)
    assert manifest.agent == "search_agent"
    assert (manifest.limit, manifest.seed, manifest.revision) == (4, 7, None)
    assert manifest.source == (FileRecord.of(source),)
    assert manifest.parquet == FileRecord.of(out / "train.parquet")
    again = tmp_path / "again"
    prepare(Request("hotpotqa", again, source, splits=("train",), limit=4, seed=7))
    assert (again / "train.manifest.json").read_text() == (out / "train.manifest.json").read_text()


def test_a_made_worlds_options_are_in_the_manifest(tmp_path: Path) -> None:
    prepare(Request("miniwiki", tmp_path, seed=3, limit=5))
    assert {item.options["seed"] for item in check(tmp_path)} == {3}
    assert all(item.source == () for item in manifests(tmp_path))


def test_a_changed_or_missing_file_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="prepare the data into it"):
        check(tmp_path)
    prepare(Request("miniwiki", tmp_path, seed=3, limit=5))
    file = tmp_path / "train.parquet"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"train\.parquet is not the file"):
        check(tmp_path)
    file.unlink()
    with pytest.raises(ValueError, match=r"train\.parquet is not the file"):
        check(tmp_path)


@pytest.mark.parametrize(("field", "value"), [("rows", "many"), ("format_version", 99), ("colour", "red")])
def test_a_broken_manifest_names_the_file(field: str, value: object, tmp_path: Path) -> None:
    prepare(Request("miniwiki", tmp_path, seed=3, limit=5))
    file = tmp_path / "train.manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), field: value}))
    with pytest.raises(ValueError, match=r"train\.manifest\.json.*prepare the data again"):
        read_manifest(file)


def test_a_question_in_train_and_test_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "source"
    write_rows(source / "train.jsonl", ["One?", "Two  things?", "Three?"])
    write_rows(source / "dev.jsonl", ["Four?", "two things?", "THREE?"])
    out = tmp_path / "rows"
    with pytest.raises(
        ValueError, match=r"row 1 of hotpotqa train asks what row 1 of dev asks .* and 1 more questions"
    ):
        prepare(Request("hotpotqa", out, source))
    assert not list(out.iterdir()), "nothing was written"
    prepare(Request("hotpotqa", out, source, drop_overlap=True))
    assert questions(out, "train") == ["One?"]
    assert {item.split: item.left_out_of_train for item in check(out)} == {"train": 2, "dev": 0}


def test_splits_prepared_one_after_the_other_are_compared_too(tmp_path: Path) -> None:
    train = write_rows(tmp_path / "train.jsonl", ["One?", "Two?"])
    dev = write_rows(tmp_path / "dev.jsonl", ["Two?"])
    for first, second in (((train, "train"), (dev, "dev")), ((dev, "dev"), (train, "train"))):
        out = tmp_path / first[1]
        prepare(Request("hotpotqa", out, first[0], splits=(first[1],)))
        with pytest.raises(ValueError, match="row 1 of hotpotqa train asks what row 0 of dev asks"):
            prepare(Request("hotpotqa", out, second[0], splits=(second[1],)))
        assert [item.split for item in check(out)] == [first[1]]
    shutil.rmtree(tmp_path / "train")
    prepare(Request("hotpotqa", tmp_path / "dev", train, splits=("train",), drop_overlap=True, limit=1))
    assert questions(tmp_path / "dev", "train") == ["One?"]


def test_manifest_fields_are_documented() -> None:
    documented = DataManifest.__doc__ or ""
    undocumented = {"format_version"}
    assert {name for name in DataManifest.model_fields if name not in documented} <= undocumented
