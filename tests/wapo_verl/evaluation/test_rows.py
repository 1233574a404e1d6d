"""The rows of an evaluation, the model, the manifest: what is found, and what is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.samples import model_folder
from typer.testing import CliRunner

from retrieval_index import Document, build_index
from wapo_verl.cli.app import app
from wapo_verl.data.prepare import Request, prepare
from wapo_verl.environments.registry import environment
from wapo_verl.evaluation.command import verl_command
from wapo_verl.evaluation.manifest import EvaluationManifest, ModelRecord, RowsRecord, checkout_commit, read_manifest
from wapo_verl.evaluation.model import folder_hash, loadable_model
from wapo_verl.evaluation.rows import Wanted, questions_of, wanted_rows


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index") / "docs"
    build_index([Document("d1", "Paris", "Paris is a city.")], folder, "tantivy")
    return folder


def test_rows_are_made_or_read_by_the_environment(tmp_path: Path, index: Path) -> None:
    wanted = Wanted("miniwiki", limit=5, options={"books": "10", "held_out_books": "10"}, index=str(index))
    questions, record = questions_of(wanted, tmp_path)
    assert len(questions) == record.questions == 5
    assert record.split == environment("miniwiki").splits[-1]
    assert record.index == str(index)
    assert len(record.corpus_hash) > 10
    source = environment("math500").sample_source()
    questions, record = questions_of(Wanted("math500", str(source), options={"answer_format": "boxed"}), tmp_path)
    assert questions[0].ground_truth["answer_format"] == "boxed"
    assert (record.index, record.corpus_hash) == ("", "")


def test_a_parquet_file_of_prepared_rows_is_taken_as_it_is(tmp_path: Path) -> None:
    source = environment("math500").sample_source()
    (written,) = prepare(Request("math500", tmp_path / "data", source=source, splits=("test",)))
    questions, record = questions_of(Wanted("math500", str(written.file), limit=2), tmp_path)
    again, same = questions_of(Wanted("math500", str(source), limit=2), tmp_path / "again")
    assert [question.question_id for question in questions] == [question.question_id for question in again]
    assert record.sha256 == same.sha256
    assert record.prompts_sha256 == same.prompts_sha256
    with pytest.raises(ValueError, match="there is no row of hotpotqa in"):
        questions_of(Wanted("hotpotqa", str(written.file)), tmp_path)


def test_other_prompts_are_the_same_rows(tmp_path: Path) -> None:
    source = str(environment("math500").sample_source())
    records = [
        questions_of(Wanted("math500", source, options={"match": match}), tmp_path / match)[1]
        for match in ("exact", "equivalent")
    ]
    assert records[0].sha256 != records[1].sha256  # what counts as right is another thing
    assert records[0].prompts_sha256 == records[1].prompts_sha256


def test_episodes_that_search_need_an_index(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"search an index: give --index miniwiki=ADDRESS"):
        questions_of(Wanted("miniwiki", limit=1), tmp_path)
    with pytest.raises(ValueError, match="--index gone"):
        questions_of(Wanted("miniwiki", limit=1, index="gone"), tmp_path)


def test_what_a_user_names() -> None:
    found = wanted_rows(
        ["hotpotqa=hub", "ottqa=/data/ottqa", "math500=test.jsonl"],
        ["/indexes/all", "ottqa=http://here:8000"],
        {"answer_format": "boxed", "max_turns": "4"},
        limit=7,
    )
    assert [(wanted.name, wanted.source) for wanted in found] == [
        ("hotpotqa", "hub"),
        ("ottqa", "/data/ottqa"),
        ("math500", "test.jsonl"),
    ]
    assert [wanted.index for wanted in found] == ["/indexes/all", "http://here:8000", None]
    assert [wanted.options for wanted in found] == [{"max_turns": "4"}, {"max_turns": "4"}, {"answer_format": "boxed"}]


@pytest.mark.parametrize(
    ("environments", "indexes", "options", "said"),
    [
        (["hotpot"], [], {}, "no environment 'hotpot'"),
        (["math500", "math500"], [], {}, "math500 is named twice"),
        ([], [], {}, "name an environment"),
        (["math500"], [], {"max_turns": "3"}, "none of math500 has an option 'max_turns'"),
        (["hotpotqa"], ["ottqa=x"], {}, "names 'ottqa', which is not evaluated"),
        (["math500"], ["x"], {}, "none of math500 searches: leave --index out"),
    ],
)
def test_what_a_user_cannot_name(
    environments: list[str], indexes: list[str], options: dict[str, str], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        wanted_rows(environments, indexes, options)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["math500"], "math500 is read from files: write math500=SOURCE, with a source as `prepare --source` takes it"),
        (["math500=x", "--k", "1,4", "--samples", "2"], "--k 4 needs more samples a question than --samples 2"),
        (["math500=x", "--k", "0"], "--k 0 cannot be: it counts samples, from 1 on"),
        (["math500=x", "--samples", "-1"], "--samples must be at least 1, not -1"),
        (["math500=EMPTY.parquet"], "EMPTY.parquet cannot be read as parquet (Parquet file size is 0 bytes)"),
        (["math500", "--source", "x"], "--source is of --suite: write NAME=SOURCE for an environment"),
    ],
)
def test_a_mistake_is_said_before_anything_starts(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "EMPTY.parquet").touch()
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["eval", *arguments, "--model", str(tmp_path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert said in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (
            "data.max_respons_length=64",
            "data.max_respons_length is not a key of veRL: did you mean data.max_response_length? "
            "+data.max_respons_length=... adds one",
        ),
        ("+wapo.search_agent.topk=2", "wapo.search_agent.topk is not a key of this project: did you mean"),
        ("data.max_response_length", "'data.max_response_length' is no override for veRL; write key=value"),
        ("+wapo.search_agent.top_k=2", "there is no file or folder x"),
    ],
)
def test_verls_keys_are_checked_before_anything_starts(setting: str, said: str, tmp_path: Path) -> None:
    """The last one is right, with the index that --index names, so that what comes after it is reached."""
    arguments = ["eval", "hotpotqa=x", "--index", "y", setting, "--model", str(tmp_path)]
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert said in " ".join(done.output.split())


def test_a_model_is_known_by_its_files(tmp_path: Path) -> None:
    one, other = model_folder(tmp_path / "one"), model_folder(tmp_path / "other")
    assert folder_hash(one) == folder_hash(other)
    (one / "README.md").write_text("text")
    assert folder_hash(one) == folder_hash(other)
    (other / "model.safetensors").write_bytes(b"Weights")
    assert folder_hash(one) != folder_hash(other)
    assert loadable_model(str(one), tmp_path).folder == str(one)


def test_a_checkpoint_with_hugging_face_weights_is_taken(tmp_path: Path) -> None:
    run = tmp_path / "checkpoints"
    inner = model_folder(run / "global_step_40" / "actor" / "huggingface")
    (run / "latest_checkpointed_iteration.txt").write_text("40")
    for asked in (run, run / "global_step_40", run / "global_step_40" / "actor"):
        assert loadable_model(str(asked), tmp_path / "work").folder == str(inner)


def test_what_is_no_model_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no model: neither weights"):
        loadable_model(str(tmp_path / "empty"), tmp_path)
    with pytest.raises(ValueError, match=r"there is no folder \./gone"):
        loadable_model("./gone", tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    (run / "latest_checkpointed_iteration.txt").write_text("")
    with pytest.raises(ValueError, match="names no step"):
        loadable_model(str(run), tmp_path)
    actor = tmp_path / "broken" / "actor"
    actor.mkdir(parents=True)
    (actor / "model_world_size_1_rank_0.pt").write_bytes(b"no tensor")
    with pytest.raises(ValueError, match="veRL's merger could not merge"):
        loadable_model(str(tmp_path / "broken"), tmp_path / "work")
    assert not (tmp_path / "work" / "rows").exists()


def manifest(tmp_path: Path, **values: object) -> EvaluationManifest:
    folder = tmp_path / "model"
    if not folder.is_dir():
        model_folder(folder, max_position_embeddings=2048)
    given = {
        "model": ModelRecord(asked="m", folder=str(folder), sha256="1"),
        "rows": {"miniwiki": RowsRecord(source="", split="", questions=1, sha256="2", prompts_sha256="3", index="/i")},
        "samples": 4,
        "temperature": 1.0,
        "top_p": 1.0,
        "seed": 0,
    }
    return EvaluationManifest(**{**given, **values})


def test_a_manifest_comes_back_and_refuses_another_evaluation(tmp_path: Path) -> None:
    first = manifest(tmp_path)
    assert read_manifest(tmp_path) is None
    first.write(tmp_path)
    back = read_manifest(tmp_path)
    assert back == first
    manifest(tmp_path, samples=16, versions={"verl": "1"}).refuse_other(first, tmp_path)
    with pytest.raises(ValueError, match=r"another evaluation, with temperature=1.0 where this one has 0.5"):
        manifest(tmp_path, temperature=0.5).refuse_other(first, tmp_path)
    other = {"miniwiki": first.rows["miniwiki"].model_copy(update={"corpus_hash": "x"})}
    with pytest.raises(ValueError, match=r"with rows.miniwiki.corpus_hash= where this one has x"):
        manifest(tmp_path, rows=other).refuse_other(first, tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match=r"manifest\.json, model: Field required"):
        read_manifest(tmp_path)


def test_what_was_sampled_otherwise_is_told(tmp_path: Path) -> None:
    first = manifest(tmp_path)
    rows = {"miniwiki": first.rows["miniwiki"].model_copy(update={"prompts_sha256": "x", "corpus_hash": "y"})}
    other = manifest(tmp_path, temperature=0.5, overrides=("data.max_response_length=64",), rows=rows, seed=3)
    assert first.asked_otherwise(first) == []
    assert first.asked_otherwise(other) == [
        "temperature (1.0, 0.5)",
        "settings (data.max_response_length=64)",
        "prompts of miniwiki",
        "the corpus that miniwiki searches",
    ]


def test_the_command_names_everything_once_and_overrides_win(tmp_path: Path) -> None:
    command = verl_command(manifest(tmp_path, overrides=("data.max_response_length=64",)), tmp_path)
    keys = [argument.partition("=")[0] for argument in command[3:]]
    assert len(keys) == len(set(keys))
    assert "data.max_response_length=64" in command
    assert "data.max_prompt_length=1024" in command
    assert "+wapo.search_agent.index.miniwiki=/i" in command
    assert "trainer.val_only=True" in command


def test_the_checkouts_commit_is_known() -> None:
    assert len(checkout_commit().rstrip("+")) in (0, 40)
