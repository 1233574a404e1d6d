"""Slow: a step in veRL with Ray, FSDP2 and vLLM, in which all-equal groups are thrown away and others are asked for."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from examples.quickstart.command import Folders, training_command
from examples.quickstart.run import Stages, make_world
from examples.quickstart.settings import QuickstartSettings
from wapo_verl.data.json_lines import read_json_lines

PROMPTS, COMPLETIONS = 16, 8
pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.nightly]


def test_the_filter_leaves_a_whole_batch_of_groups_that_differ(tmp_path: Path, warm_model: Path) -> None:
    folders, settings = Folders(tmp_path), QuickstartSettings()
    make_world(folders, settings, 0, Stages(Console()))
    shutil.copytree(warm_model, folders.model)
    overrides = [
        "algorithm.filter_groups.enable=True",
        "actor_rollout_ref.actor.ppo_mini_batch_size=8",
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=32",
        "trainer.val_before_train=False",
        "trainer.test_freq=-1",
        "trainer.total_training_steps=1",
        f"trainer.rollout_data_dir={folders.out / 'rollouts'}",
    ]
    environment = {**os.environ, "VERL_FILE_LOGGER_PATH": str(folders.metrics)}
    command = training_command(folders, settings, 0, overrides)
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (metrics,) = [row["data"] for row in read_json_lines(folders.metrics) if row["step"] == 1]
    groups: dict[str, list[float]] = {}
    for row in read_json_lines(folders.out / "rollouts" / "1.jsonl"):
        groups.setdefault(row["uid"].split("_")[0], []).append(row["score"])
    assert len(groups) == PROMPTS
    assert all(len(set(scores)) > 1 and len(scores) == COMPLETIONS for scores in groups.values())
    assert metrics["group/all_equal"] == 0
    assert metrics["group/with_winner"] == PROMPTS
    assert metrics["training/filter_groups/evicted_samples"] > 0
    assert metrics["actor/skipped_steps"] == 0
    assert metrics["actor/grad_norm"] > 0
