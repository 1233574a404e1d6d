"""Slow: a model is trained in veRL, its checkpoint is merged and evaluated, killed and resumed, and compared."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from transformers import AutoTokenizer

from examples.quickstart.command import Folders
from wapo_verl.data.json_lines import read_json_lines
from wapo_verl.evaluation.reading import read_evaluation
from wapo_verl.evaluation.rescore import rescore

QUESTIONS = 80
STEPS = 6

pytestmark = [pytest.mark.slow, pytest.mark.ray]

# As the quickstart plays its episodes.
EPISODES = (
    "data.max_prompt_length=32",
    "data.max_response_length=128",
    "actor_rollout_ref.rollout.multi_turn.max_assistant_turns=3",
    "+wapo.search_agent.max_turn_tokens=8",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, warm_model: Path) -> Path:
    """Train a few steps, validated greedily before the first and after the last, and return the run's folder."""
    out = tmp_path_factory.mktemp("trained")
    shutil.copytree(warm_model, Folders(out).model)
    overrides = [
        f"trainer.total_training_steps={STEPS}",
        f"trainer.test_freq={STEPS}",
        f"trainer.save_freq={STEPS}",
        f"data.val_max_samples={QUESTIONS}",
        "data.shuffle=False",  # veRL draws the questions of a validation at random where it draws those of training
        "actor_rollout_ref.rollout.val_kwargs.do_sample=False",
        "actor_rollout_ref.rollout.val_kwargs.temperature=0",
    ]
    command = [sys.executable, "-m", "examples.quickstart", "--seed", "0", "--out", str(out), *overrides]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return out


def command(run: Path, model: Path, out: Path, *options: str) -> list[str]:
    rows = f"miniwiki={Folders(run).data / 'test.parquet'}"
    index = str(Folders(run).index / "test")
    own = ["eval", rows, "--model", str(model), "--index", index, "--out", str(out), "--limit", str(QUESTIONS)]
    return [sys.executable, "-m", "wapo_verl.cli", *own, *options, *EPISODES]


def finish(arguments: list[str]) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def lines_of(folder: Path) -> list[dict]:
    return read_json_lines(folder / "samples.jsonl")


@pytest.fixture(scope="module")
def evaluations(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Evaluate the start and the checkpoint, greedily, and return the folder of both."""
    folder = tmp_path_factory.mktemp("evaluations")
    finish(command(trained, Folders(trained).model, folder / "start", "--temperature", "0"))
    finish(command(trained, trained / "checkpoints", folder / "trained", "--temperature", "0"))
    return folder


def validated(run: Path, step: int) -> dict[str, float]:
    """Return what the run's own validation said, answer by answer: prompt -> score."""
    return {line["input"]: line["score"] for line in read_json_lines(Folders(run).validation / f"{step}.jsonl")}


@pytest.mark.parametrize(("name", "step"), [("start", 0), ("trained", STEPS)])
def test_it_says_what_the_validation_said(trained: Path, evaluations: Path, name: str, step: int) -> None:
    """Greedy decoding hangs on rounding alone, and rounding on which requests share a batch: a few may differ."""
    told = validated(trained, step)
    tokenizer = AutoTokenizer.from_pretrained(Folders(trained).model)
    found = {
        tokenizer.decode(line["prompt_ids"], skip_special_tokens=True): line["scores"]["score"]
        for line in lines_of(evaluations / name)
    }
    assert found.keys() == told.keys()
    assert len(found) == QUESTIONS
    assert abs(sum(found.values()) - sum(told.values())) <= 2


def test_its_lines_hold_everything(evaluations: Path) -> None:
    line = lines_of(evaluations / "trained")[0]
    assert line["data_source"] == "miniwiki"
    assert set(line["scores"]) >= {"score", "exact_match", "f1", "format", "retrieval_recall"}
    assert line["episode"]["turns"] == line["turns"] >= 1
    assert len(line["response_ids"]) == len(line["response_mask"])
    assert line["tokens"] == sum(line["response_mask"]) > 0
    assert line["seed"] >= 0
    assert line["finished"] >= line["started"]
    manifest = json.loads((evaluations / "trained" / "manifest.json").read_text())
    assert manifest["model"]["asked"].endswith("checkpoints")
    assert manifest["rows"]["miniwiki"]["corpus_hash"]


def test_the_two_are_compared(evaluations: Path, tmp_path: Path) -> None:
    places = [str(evaluations / name) for name in ("start", "trained")]
    said = finish([sys.executable, "-m", "wapo_verl.cli", "compare", *places, "--out", str(tmp_path)])
    assert "differences from start" in said
    assert (tmp_path / "comparison.png").is_file()


def test_the_recorded_episodes_score_the_same_again(evaluations: Path) -> None:
    found = rescore(evaluations / "trained" / "samples.jsonl", None)
    assert found.moved == []
    assert found.parts["score"].samples == QUESTIONS


def test_a_killed_evaluation_resumes(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    arguments = command(trained, Folders(trained).model, out, "--samples", "4")
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    samples = out / "samples.jsonl"
    deadline = time.monotonic() + 600
    while not samples.is_file() or samples.stat().st_size < 20_000:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for each in [*psutil.Process(process.pid).children(recursive=True), process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait()
    before = samples.read_bytes()
    finish(arguments)
    assert samples.read_bytes().startswith(before[: before.rfind(b"\n") + 1])  # nothing written is lost
    found = lines_of(out)
    keys = [(line["question_id"], line["sample"]) for line in found]
    assert len(keys) == len(set(keys)) == 4 * QUESTIONS
    assert read_evaluation(out).notes == ()
