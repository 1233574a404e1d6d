"""Runs of veRL's trainer on the quickstart's task, and what the plugin's defaults do not set on a GPU."""

import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import torch
from rich.console import Console

from benchmarks.gpu.cases import Numbers, Setting, at_most
from examples.quickstart.command import Folders, training_command
from examples.quickstart.metrics import EXACT_MATCH, REWARD, ROLLOUT_GAP, STEP_SECONDS, Row
from examples.quickstart.run import Stages, make_world
from examples.quickstart.settings import QuickstartSettings
from examples.quickstart.training import Training, train
from wapo_verl.evaluation.verl_process import last_errors, plain

ON_GPU = (
    "trainer.n_gpus_per_node=1",
    "actor_rollout_ref.actor.strategy=fsdp2",
    "actor_rollout_ref.actor.use_torch_compile=False",
    "actor_rollout_ref.rollout.name=vllm",
    "actor_rollout_ref.rollout.enforce_eager=True",
    "actor_rollout_ref.rollout.gpu_memory_utilization=0.3",
    "actor_rollout_ref.rollout.agent.num_workers=2",
    "reward.num_workers=1",
    "data.dataloader_num_workers=0",
    "transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
    "+ray_kwargs.ray_init.include_dashboard=False",
)
"""One card for everything, and a quick start: no kernels are compiled, and there are few processes."""

WITHOUT_FLASH_ATTENTION = "+actor_rollout_ref.model.override_config.attn_implementation=sdpa"

GAP = {"cpu": 1e-3, "cuda": 0.05}
"""The largest mean difference of the actor's and the rollout's probabilities; on a GPU both compute in bf16.

It is for steps whose rows the actor's own weights sampled: over stale rows the gap is what the policy has moved by.
"""

STALENESS = "training/off_policy/trajectory_staleness/max"


def device_settings(device: str) -> list[str]:
    """Return veRL's settings for the device."""
    if device == "cpu":
        return []
    return [*ON_GPU, *[WITHOUT_FLASH_ATTENTION] * (find_spec("flash_attn") is None)]


def make_folders(setting: Setting) -> Folders:
    """Return a run's folders with the quickstart's world and its warm-started model, which all pieces share."""
    shared, own = Folders(setting.out.parent / "world"), Folders(setting.out)
    make_world(shared, QuickstartSettings(), 0, Stages(Console(quiet=True)))
    _warm_start(shared.model, setting.device)
    for place in ("data", "index", "model"):
        shutil.copytree(shared.out / place, own.out / place, dirs_exist_ok=True)
    return own


def _warm_start(model: Path, device: str) -> None:
    from examples.quickstart.warm_start import warm_start

    with torch.device(device):
        warm_start(model, 0, top_k=QuickstartSettings().top_k, console=Console())


def command(folders: Folders, device: str, overrides: Sequence[str]) -> list[str]:
    """Return veRL's command for the quickstart's task, without a validation unless it is asked for."""
    quiet = ["trainer.val_before_train=False", "trainer.test_freq=-1"]
    asked = {override.split("=")[0] for override in overrides}
    quiet = [override for override in quiet if override.split("=")[0] not in asked]
    return training_command(folders, QuickstartSettings(), 0, [*device_settings(device), *quiet, *overrides])


def run_verl(folders: Folders, device: str, overrides: Sequence[str]) -> tuple[Training, list[str]]:
    """Train; return what veRL logged, and the lines that were said."""
    training = train(command(folders, device, overrides), folders.log, folders.metrics, Console(quiet=True))
    said = [plain(line) for line in folders.log.read_text(errors="replace").splitlines()]
    return training, said


def trained(folders: Folders, device: str, overrides: Sequence[str]) -> list[Row]:
    """Train to the end, and return the steps.

    Raises:
        AssertionError: where it failed, with its last errors.
    """
    training, said = run_verl(folders, device, overrides)
    if training.status != 0:
        raise AssertionError(f"veRL ended with {training.status}: " + " / ".join(last_errors("\n".join(said), lines=3)))
    return [row for row in training.rows if row.trained]


def checked(rows: Sequence[Row], steps: int, device: str) -> Numbers:
    """Check the steps of a run of winners alone, and return what they took."""
    values = [row.values for row in rows]
    assert len(rows) == steps, f"{len(rows)} steps were made, not {steps}"
    updates = [each for each in values if not each["actor/skipped_steps"]]
    assert updates, "no step had a winner, so nothing was updated"
    assert all(0 < each["actor/trained_rows/fraction"] < 1 for each in updates), "not the winners alone were trained on"
    assert all(each["actor/grad_norm"] > 0 for each in updates), "a gradient is zero"
    fresh = [each[ROLLOUT_GAP] for each in values if not each.get(STALENESS)]
    at_most("the rollout gap", max(fresh, default=0.0), GAP[device])
    seconds = {name: median(each[name] for each in values) for name in (STEP_SECONDS, "timing_s/gen")}
    last = values[-1]
    named = {"reward": REWARD, "exact match": EXACT_MATCH, "tokens/s": "perf/throughput"}
    named |= {"GB": "perf/max_memory_allocated_gb"}
    return {
        "gap": max(each[ROLLOUT_GAP] for each in values),
        **seconds,
        **{name: last[key] for name, key in named.items() if key in last},
    }
