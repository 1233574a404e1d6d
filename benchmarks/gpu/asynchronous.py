"""Piece: the asynchronous modes on the quickstart's task, those that fit on the cards that are there."""

import torch

from benchmarks.gpu.cases import Cases, NotThereError, Numbers, Setting, piece
from benchmarks.gpu.runs import STALENESS, checked, make_folders, trained
from examples.quickstart.command import Folders

STEPS = 6
SHORT = [f"trainer.total_training_steps={STEPS}", "+wapo.guard.action=warn"]
COLOCATED = [
    *SHORT,
    "trainer.v1.trainer_mode=colocate_async",
    "trainer.v1.colocate_async.num_warmup_batches=2",
]
APART = [
    *SHORT,
    "trainer.v1.trainer_mode=separate_async",
    "trainer.v1.separate_async.parameter_sync_step=2",
    "actor_rollout_ref.actor.ppo_mini_batch_size=8",
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=64",
]
ON_GPUS = [
    "actor_rollout_ref.rollout.nnodes=1",
    "actor_rollout_ref.rollout.n_gpus_per_node=1",
    "actor_rollout_ref.rollout.checkpoint_engine.backend=nccl",
]


def apart(device: str) -> list[str]:
    """Return the settings of `separate_async`."""
    return APART if device == "cpu" else [*APART, *ON_GPUS]


def stale_rows(folders: Folders, device: str, overrides: list[str]) -> Numbers:
    """Train on rows that older weights have sampled."""
    rows = trained(folders, device, overrides)
    oldest = max(row.values[STALENESS] for row in rows)
    assert oldest > 0, "no row was stale"
    return {"oldest": oldest, **checked(rows, STEPS, device)}


def on_devices_apart(folders: Folders, device: str) -> Numbers:
    """`separate_async`: Ray hands a whole card to the trainer and another to the rollout."""
    if device == "cuda" and torch.cuda.device_count() < 2:
        raise NotThereError("trainer and rollout need a card each, and this machine has one")
    return stale_rows(folders, device, apart(device))


def run(cases: Cases, setting: Setting) -> None:
    """Run both modes; the small form is one of them."""
    folders = make_folders(setting)
    cases.run("colocate_async", stale_rows, folders, setting.device, COLOCATED)
    if not setting.small:
        cases.run("separate_async", on_devices_apart, folders, setting.device)


if __name__ == "__main__":
    piece(run)
