"""The study's recipe asks veRL for the run that its knobs name. No GPU, no Ray: Python is a recorder here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

from examples.quickstart.command import Folders, training_command
from examples.quickstart.settings import QuickstartSettings

SCRIPT = ROOT / "recipes" / "study" / "run_verl.sh"
RECORDER = "#!{python}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n"


def run(folder: Path, *arguments: str, **knobs: str) -> subprocess.CompletedProcess[str]:
    recorder = folder / "python"
    recorder.write_text(RECORDER.format(python=sys.executable))
    recorder.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "PYTHON": str(recorder), **knobs}
    command = ["bash", str(SCRIPT), *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def quickstart_arguments(folder: Path, *arguments: str, **knobs: str) -> list[str]:
    finished = run(folder, *arguments, **knobs)
    assert finished.returncode == 0, finished.stderr
    module, name, *found = json.loads(finished.stdout.splitlines()[-1])
    assert (module, name) == ("-m", "examples.quickstart")
    return found


def test_the_knobs_reach_verls_command(tmp_path: Path) -> None:
    knobs = {"ALGORITHM": "grpo_ref", "LEARNING_RATE": "2e-3", "OFF_POLICY_STEPS": "8", "SEED": "3", "STEPS": "17"}
    found = quickstart_arguments(tmp_path, "data.seed=5", **knobs)
    assert found[:4] == ["--seed", "3", "--out", "runs/study-verl/grpo_ref-lr2e-3-k8-seed3"]
    assert found[-1] == "data.seed=5"
    settings = QuickstartSettings()
    command = training_command(Folders(tmp_path), settings, 3, found[4:])
    values = dict(argument.split("=", 1) for argument in command[3:])
    actor = "actor_rollout_ref.actor"
    assert values["algorithm.adv_estimator"] == "grpo_ref"
    assert float(values[f"{actor}.optim.lr"]) == 2e-3
    assert int(values["data.train_batch_size"]) == 8 * int(values[f"{actor}.ppo_mini_batch_size"])
    completions = int(values[f"{actor}.ppo_mini_batch_size"]) * settings.group_size
    assert int(values[f"{actor}.ppo_micro_batch_size_per_gpu"]) == completions
    assert values["trainer.total_training_steps"] == "17"
    assert values["data.seed"] == "5"


def test_without_knobs_it_is_the_quickstarts_run(tmp_path: Path) -> None:
    found = quickstart_arguments(tmp_path)
    settings = QuickstartSettings()
    plain = set(training_command(Folders(tmp_path), settings, 0))
    changed = set(training_command(Folders(tmp_path), settings, 0, found[4:])) - plain
    assert changed == {
        "trainer.experiment_name=study-wapo",
        "trainer.nnodes=1",
        "actor_rollout_ref.actor.optim.lr=1e-3",  # 0.001, written otherwise
    }


@pytest.mark.parametrize("steps", ["3", "0", "many"])
def test_updates_that_do_not_divide_a_step_are_refused(tmp_path: Path, steps: str) -> None:
    finished = run(tmp_path, OFF_POLICY_STEPS=steps)
    assert finished.returncode == 1
    assert finished.stderr.startswith(f"error: OFF_POLICY_STEPS={steps} does not divide the 16 questions")


def test_it_is_executable() -> None:
    assert os.access(SCRIPT, os.X_OK)
