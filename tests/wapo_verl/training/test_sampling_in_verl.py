"""Slow: three steps in veRL with Ray, FSDP2 and vLLM: groups that stop when they are settled, then the group filter.

One run, whose sampling changes from step to step (`support.sampling_relay_trainer`).
"""

import json
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.paths import TESTS

from examples.quickstart.command import Folders, training_command
from examples.quickstart.run import Stages, make_world
from examples.quickstart.settings import QuickstartSettings
from wapo_verl.data.json_lines import read_json_lines

PROMPTS, COMPLETIONS, PROBE = 16, 8, 2
PLAN = [[1, False], [PROBE, False], [PROBE, True]]
pytestmark = [pytest.mark.slow, pytest.mark.ray]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, warm_model: Path) -> Path:
    """Train three steps, and return the folder of all that was written."""
    folders, settings = Folders(tmp_path_factory.mktemp("sampling")), QuickstartSettings()
    make_world(folders, settings, 0, Stages(Console()))
    shutil.copytree(warm_model, folders.model)
    overrides = [
        "algorithm.filter_groups.enable=True",
        "actor_rollout_ref.actor.ppo_mini_batch_size=8",
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=32",
        "trainer.v1.trainer_mode=wapo_sampling_relay",
        "trainer.val_before_train=False",
        "trainer.test_freq=-1",
        f"trainer.total_training_steps={len(PLAN)}",
        f"trainer.rollout_data_dir={folders.out / 'rollouts'}",
    ]
    environment = {
        **os.environ,
        "VERL_FILE_LOGGER_PATH": str(folders.metrics),
        "VERL_USE_EXTERNAL_MODULES": "support.sampling_relay",
        "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
        "WAPO_SAMPLING_PLAN": json.dumps(PLAN),
    }
    command = training_command(folders, settings, 0, overrides)
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folders.out


@pytest.fixture(scope="module")
def steps(run: Path) -> list[dict[str, Any]]:
    rows = read_json_lines(run / "metrics.jsonl")
    return [row["data"] for row in rows if row["step"] > 0]


def dumped(run: Path, step: int) -> dict[str, list[float]]:
    """Each group's scores in a step's dump."""
    groups: dict[str, list[float]] = {}
    for row in read_json_lines(run / "rollouts" / f"{step}.jsonl"):
        groups.setdefault(row["uid"].split("_")[0], []).append(row["score"])
    return groups


@pytest.mark.parametrize("step", [1, 2])
def test_settled_groups_are_short_and_the_metrics_say_so(step: int, run: Path, steps: list[dict[str, Any]]) -> None:
    metrics, groups, probe = steps[step - 1], dumped(run, step), PLAN[step - 1][0]
    assert len(groups) == metrics["group/count"] == PROMPTS
    short = [scores for scores in groups.values() if len(scores) == probe]
    assert all(set(scores) == {1.0} for scores in short)
    assert Counter(map(len, groups.values())) == Counter({probe: len(short), COMPLETIONS: PROMPTS - len(short)})
    sampled = sum(map(len, groups.values()))
    assert metrics["sampling/groups_settled"] == len(short)
    assert metrics["sampling/completions_saved"] == len(short) * (COMPLETIONS - probe)
    assert metrics["sampling/completions"] == metrics["episode/count"] == sampled
    scores = [score for group in groups.values() for score in group]
    assert metrics["critic/score/mean"] == pytest.approx(sum(scores) / sampled)
    assert metrics["group/winner_fraction"] == pytest.approx(
        sum(score == 1.0 and len(set(group)) == 2 for group in groups.values() for score in group) / sampled
    )


def test_some_groups_were_settled_and_it_trains(steps: list[dict[str, Any]]) -> None:
    """About a quarter of the answers are right at the start, so a probe of one settles about as many groups."""
    assert sum(step["sampling/groups_settled"] for step in steps) > 0
    for step in steps:
        assert step["actor/skipped_steps"] == 0
        assert step["actor/grad_norm"] > 0
        assert 0 < step["actor/trained_rows/fraction"] < 1
        # The second mini-batch meets a policy that the first has moved, except where the learning rate is still 0.
        assert step["training/rollout_probs_diff_mean"] < (0.05 if step["actor/lr"] else 1e-5)


def test_the_filter_leaves_a_whole_batch_of_groups_that_differ(run: Path, steps: list[dict[str, Any]]) -> None:
    metrics, groups = steps[2], dumped(run, 3)
    assert len(groups) == PROMPTS
    assert all(len(set(scores)) > 1 and len(scores) == COMPLETIONS for scores in groups.values())
    assert metrics["group/all_equal"] == 0
    assert metrics["group/with_winner"] == PROMPTS
    assert metrics["training/filter_groups/evicted_samples"] > 0
    assert metrics["sampling/completions_saved"] == (COMPLETIONS - PROBE) * metrics["sampling/groups_settled"]
