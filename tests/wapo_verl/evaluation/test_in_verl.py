"""Slow: a model is trained in veRL, its checkpoint is merged and evaluated, killed and resumed, and compared."""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support.quickstart_run import QUESTIONS, STEPS
from transformers import AutoTokenizer

from examples.quickstart.command import Folders
from wapo_verl.data.json_lines import read_json_lines
from wapo_verl.evaluation.reading import read_evaluation
from wapo_verl.evaluation.rescore import rescore

ENOUGH_BYTES = 20_000  # a tenth or so of what an evaluation writes

pytestmark = [pytest.mark.slow, pytest.mark.ray]

# As the quickstart plays its episodes.
EPISODES = (
    "data.max_prompt_length=32",
    "data.max_response_length=128",
    "actor_rollout_ref.rollout.multi_turn.max_assistant_turns=3",
    "+wapo.search_agent.max_turn_tokens=8",
)


def command(run: Path, model: Path, out: Path, *options: str) -> list[str]:
    rows = f"miniwiki={Folders(run).data / 'test.parquet'}"
    index = str(Folders(run).index / "test")
    own = ["eval", rows, "--model", str(model), "--index", index, "--out", str(out), "--temperature", "1"]
    return [sys.executable, "-m", "wapo_verl.cli", *own, *options, *EPISODES]


def finish(arguments: list[str]) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def lines_of(folder: Path) -> list[dict]:
    return read_json_lines(folder / "samples.jsonl")


def kill_amid(arguments: list[str], samples: Path) -> bytes:
    """Start an evaluation, kill its processes when some answers are written, and return what was."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 600
    while not samples.is_file() or samples.stat().st_size < ENOUGH_BYTES:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for each in [*psutil.Process(process.pid).children(recursive=True), process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait()
    return samples.read_bytes()


@pytest.fixture(scope="module")
def evaluations(quickstart_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """Evaluate the start, killed and resumed, and the checkpoint; return the folder of both and what the kill left."""
    folder = tmp_path_factory.mktemp("evaluations")
    killed = command(quickstart_run, Folders(quickstart_run).model, folder / "start")
    before = kill_amid(killed, folder / "start" / "samples.jsonl")
    finish(killed)
    finish(command(quickstart_run, quickstart_run / "checkpoints", folder / "trained"))
    return folder, before


@pytest.mark.parametrize(("name", "step"), [("start", 0), ("trained", STEPS)])
def test_it_says_what_the_validation_said(
    quickstart_run: Path, evaluations: tuple[Path, bytes], name: str, step: int
) -> None:
    """Both draw one answer a question: their means differ by chance alone, by at most 3.5 standard errors."""
    dumped = read_json_lines(Folders(quickstart_run).validation / f"{step}.jsonl")
    told = {line["input"]: line["score"] for line in dumped}
    tokenizer = AutoTokenizer.from_pretrained(Folders(quickstart_run).model)
    found = {
        tokenizer.decode(line["prompt_ids"], skip_special_tokens=True): line["scores"]["score"]
        for line in lines_of(evaluations[0] / name)
    }
    assert found.keys() == told.keys()
    assert len(found) == QUESTIONS
    mean, wanted = sum(found.values()) / QUESTIONS, sum(told.values()) / QUESTIONS
    assert abs(mean - wanted) <= 3.5 * math.sqrt(2 * wanted * (1 - wanted) / QUESTIONS)


def test_its_lines_hold_everything(evaluations: tuple[Path, bytes]) -> None:
    line = lines_of(evaluations[0] / "trained")[0]
    assert line["data_source"] == "miniwiki"
    assert set(line["scores"]) >= {"score", "exact_match", "f1", "format", "retrieval_recall"}
    assert line["episode"]["turns"] == line["turns"] >= 1
    assert len(line["response_ids"]) == len(line["response_mask"])
    assert line["tokens"] == sum(line["response_mask"]) > 0
    assert line["seed"] >= 0
    assert line["finished"] >= line["started"]
    manifest = json.loads((evaluations[0] / "trained" / "manifest.json").read_text())
    assert manifest["model"]["asked"].endswith("checkpoints")
    assert manifest["rows"]["miniwiki"]["corpus_hash"]


def test_the_two_are_compared(evaluations: tuple[Path, bytes], tmp_path: Path) -> None:
    places = [str(evaluations[0] / name) for name in ("start", "trained")]
    said = finish([sys.executable, "-m", "wapo_verl.cli", "compare", *places, "--out", str(tmp_path)])
    assert "differences from start" in said
    assert (tmp_path / "comparison.png").is_file()


def test_the_recorded_episodes_score_the_same_again(evaluations: tuple[Path, bytes]) -> None:
    found = rescore(evaluations[0] / "trained" / "samples.jsonl", None)
    assert found.moved == []
    assert found.parts["score"].samples == QUESTIONS


def test_a_killed_evaluation_resumes(evaluations: tuple[Path, bytes]) -> None:
    folder, before = evaluations
    whole = before[: before.rfind(b"\n") + 1]
    assert 0 < whole.count(b"\n") < QUESTIONS, "it was killed amid its answers"
    assert (folder / "start" / "samples.jsonl").read_bytes().startswith(whole), "nothing written is lost"
    keys = [(line["question_id"], line["sample"]) for line in lines_of(folder / "start")]
    assert len(keys) == len(set(keys)) == QUESTIONS
    assert read_evaluation(folder / "start").notes == ()
