"""Slow: on a CPU a run gives the same weights twice, and a resumed run those of a run that was not interrupted.

Nothing is replaced: veRL, Ray, FSDP2 and vLLM. Four steps at once; then two steps, and the same command resumes them.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch.distributed.tensor import DTensor

from examples.quickstart.command import Folders, training_command
from examples.quickstart.run import Stages, make_world
from examples.quickstart.settings import QuickstartSettings
from examples.quickstart.training import train
from wapo_verl.data.json_lines import read_json_lines

HALF, STEPS, PROMPTS, GROUP = 2, 4, 8, 4

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.nightly]


def run(folders: Folders, steps: int) -> None:
    """Train to this step, from the newest checkpoint if there is one."""
    overrides = [
        f"trainer.total_training_steps={steps}",
        f"trainer.save_freq={HALF}",
        "trainer.resume_mode=auto",
        "trainer.val_before_train=False",
        "trainer.test_freq=-1",
    ]
    settings = QuickstartSettings(prompts_per_step=PROMPTS, group_size=GROUP)
    command = training_command(folders, settings, 0, overrides)
    done = train(command, folders.log, folders.metrics, Console(quiet=True))
    assert done.status == 0, folders.log.read_text(errors="replace")[-5000:]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, warm_model: Path) -> tuple[Folders, Folders]:
    """The run that was not interrupted, and the one that was."""
    whole, halves = (Folders(tmp_path_factory.mktemp(name)) for name in ("whole", "halves"))
    for folders in (whole, halves):
        make_world(folders, QuickstartSettings(), 0, Stages(Console(quiet=True)))
        shutil.copytree(warm_model, folders.model)
    run(whole, STEPS)
    run(halves, HALF)
    run(halves, STEPS)
    return whole, halves


def weights(folders: Folders, step: int) -> dict[str, Any]:
    file = folders.out / "checkpoints" / f"global_step_{step}" / "actor" / "model_world_size_1_rank_0.pt"
    found = torch.load(file, weights_only=False)
    return {name: value.to_local() if isinstance(value, DTensor) else value for name, value in found.items()}


@pytest.mark.parametrize("step", [HALF, STEPS])
def test_the_weights_are_equal_to_the_last_bit(runs: tuple[Folders, Folders], step: int) -> None:
    whole, halves = (weights(folders, step) for folders in runs)
    assert whole.keys() == halves.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, halves[name]), name


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_the_completions_are_the_same(runs: tuple[Folders, Folders], step: int) -> None:
    first, second = (
        sorted((line["input"], line["output"]) for line in read_json_lines(folders.rollouts / f"{step}.jsonl"))
        for folders in runs
    )
    assert len(first) == PROMPTS * GROUP
    assert first == second
