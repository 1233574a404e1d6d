"""Slow: a run in veRL whose reward function fails for some answers trains on the others, within its budget.

Nothing is replaced: veRL, Ray, FSDP2 and vLLM. The reward function raises for answers of some lengths.
"""

import math
import os
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from examples.quickstart.command import Folders, training_command
from examples.quickstart.run import Stages, make_world
from examples.quickstart.settings import QuickstartSettings
from wapo_verl.data.json_lines import read_json_lines

STEPS, PROMPTS, GROUP = 2, 8, 8
REWARD = """
from wapo_verl.reward import compute_score as score_of


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **_):
    if len(extra_info["episode"]["answer"] or "") % 4 == 1:
        raise RuntimeError("an answer of this length is not judged")
    return score_of(data_source, solution_str, ground_truth, extra_info)
"""

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.nightly]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, warm_model: Path) -> Folders:
    """Train with a budget of one half, and return where the run wrote."""
    made, settings = Folders(tmp_path_factory.mktemp("failing")), QuickstartSettings(
        prompts_per_step=PROMPTS, group_size=GROUP
    )  # fmt: skip
    make_world(made, settings, 0, Stages(Console(quiet=True)))
    shutil.copytree(warm_model, made.model)
    (made.out / "reward.py").write_text(REWARD)
    overrides = [
        f"reward.custom_reward_function.path={made.out / 'reward.py'}",
        "+wapo.failures.budget=0.5",
        f"trainer.total_training_steps={STEPS}",
        "trainer.val_before_train=False",
        "trainer.test_freq=-1",
    ]
    environment = {**os.environ, "VERL_FILE_LOGGER_PATH": str(made.metrics)}
    command = training_command(made, settings, 0, overrides)
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "an episode failed (verifier) and is left out, the first such: RuntimeError: an answer" in done.stdout
    return made


def lines(folders: Folders, step: int) -> list[dict[str, Any]]:
    return read_json_lines(folders.rollouts / f"{step}.jsonl")


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_what_failed_is_counted_and_the_rest_is_trained_on(folders: Folders, step: int) -> None:
    (metrics,) = [row["data"] for row in read_json_lines(folders.metrics) if row["step"] == step]
    failed = [line for line in lines(folders, step) if line["failure"] is not None]
    assert 0 < len(failed) < PROMPTS * GROUP / 2
    assert metrics["failures/verifier"] == len(failed)
    assert metrics["failures/share"] == pytest.approx(len(failed) / (PROMPTS * GROUP))
    assert metrics["actor/skipped_steps"] == 0
    assert metrics["actor/grad_norm"] > 0
    assert math.isfinite(metrics["actor/pg_loss"])


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_means_and_groups_are_of_the_others(folders: Folders, step: int) -> None:
    (metrics,) = [row["data"] for row in read_json_lines(folders.metrics) if row["step"] == step]
    groups: dict[str, list[float]] = defaultdict(list)
    for line in lines(folders, step):
        assert (line["score"] is None) == (line["failure"] == "verifier")
        if line["score"] is not None:
            groups[line["uid"].rsplit("_", 2)[0]].append(line["score"])
    scores = [score for group in groups.values() for score in group]
    assert metrics["critic/score/mean"] == pytest.approx(sum(scores) / len(scores))
    assert metrics["group/with_winner"] == sum(max(group) > min(group) for group in groups.values())
