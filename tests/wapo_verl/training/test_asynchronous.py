"""Slow: the real thing. The quickstart's task in veRL's asynchronous modes, with Ray, FSDP2, vLLM and gloo.

Nothing is replaced. One run of each mode, each with rows that older weights have sampled.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import pytest
from rich.console import Console

from examples.quickstart.command import Folders, training_command
from examples.quickstart.metrics import ROLLOUT_GAP
from examples.quickstart.run import Stages, make_world
from examples.quickstart.settings import QuickstartSettings
from examples.quickstart.training import Training, train
from wapo_verl.evaluation.verl_process import plain

STEPS = 6
STALENESS = "training/off_policy/trajectory_staleness"

COLOCATED = ["trainer.v1.trainer_mode=colocate_async", "trainer.v1.colocate_async.num_warmup_batches=2"]
APART = [
    "trainer.v1.trainer_mode=separate_async",
    "trainer.v1.separate_async.parameter_sync_step=2",
    "actor_rollout_ref.actor.ppo_mini_batch_size=8",
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=64",
]

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.nightly]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, warm_model: Path) -> Folders:
    """The quickstart's world and warm-started model."""
    made = Folders(tmp_path_factory.mktemp("asynchronous"))
    make_world(made, QuickstartSettings(), 0, Stages(Console(quiet=True)))
    shutil.copytree(warm_model, made.model)
    return made


def run_verl(folders: Folders, overrides: Sequence[str]) -> tuple[Training, str]:
    """Train; return what veRL logged, and what was said in it."""
    folders.metrics.unlink(missing_ok=True)
    short = [f"trainer.total_training_steps={STEPS}", "trainer.val_before_train=False", "trainer.test_freq=-1"]
    short.append("+wapo.guard.action=warn")
    command = training_command(folders, QuickstartSettings(), 0, [*short, *overrides])
    training = train(command, folders.log, folders.metrics, Console(quiet=True))
    return training, "\n".join(plain(line) for line in folders.log.read_text(errors="replace").splitlines())


def trained(folders: Folders, mode: Sequence[str], oldest: int) -> list[dict[str, float]]:
    """Train in a mode, and check every step; return the steps' metrics."""
    training, said = run_verl(folders, mode)
    assert training.status == 0, said[-3000:]
    rows = [row.values for row in training.rows]
    assert len(rows) == STEPS
    assert max(values[f"{STALENESS}/max"] for values in rows) == oldest
    for values in rows:
        assert values[f"{STALENESS}/min"] >= 0
        assert 0 < values["actor/trained_rows/fraction"] < 1
        assert values["actor/skipped_steps"] == 0
        assert values["actor/grad_norm"] > 0
        assert values[ROLLOUT_GAP] < 0.1
        assert "stability/alarms" in values
    return rows


def test_on_the_same_devices_stale_rows_train_the_winners_alone(folders: Folders) -> None:
    trained(folders, COLOCATED, oldest=2)


def test_on_devices_apart_they_do_and_the_weights_arrive(folders: Folders) -> None:
    """Rows of the current weights come every other step; were these not new, their gap would grow like the others'."""
    rows = trained(folders, APART, oldest=1)[1:]
    gaps = {
        old: [values[ROLLOUT_GAP] for values in rows if (values[f"{STALENESS}/mean"] > 0.5) is old]
        for old in (False, True)
    }
    assert mean(gaps[False]) < mean(gaps[True]) / 2, gaps
