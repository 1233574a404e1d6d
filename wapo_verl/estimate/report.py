"""Say what was computed: a table, and what does not fit."""

from __future__ import annotations

from collections.abc import Iterator

from wapo_verl.estimate.duration import GIB, Device, step_time
from wapo_verl.estimate.memory import Job, resident, rollout_memory, trainer_memory

CONTEXT = GIB
"""What CUDA and its libraries take of a device: assumed, to be measured."""


def problems(job: Job, device: Device) -> list[str]:
    """Return a sentence, with its fix, for each thing that the device's memory does not hold."""
    memory, engine = trainer_memory(job), rollout_memory(job, device.memory)
    free, waiting = device.memory - CONTEXT, resident(job, memory)
    update = memory.update + (0 if job.frees_cache else engine.share)
    found = []
    if update > free:
        found.append(
            f"an update needs {gib(update)} and a device has {gib(free)}: lower actor.ppo_max_token_len_per_gpu, set "
            "actor.fsdp_config.optimizer_offload=True, train LoRA, or use more devices"
        )
    if waiting + engine.share > free:
        found.append(
            f"the trainer's {gib(waiting)} and the rollout's {gib(engine.share)} do not fit together: lower "
            "rollout.gpu_memory_utilization, or set param_offload=True and optimizer_offload=True in actor.fsdp_config"
        )
    if not engine.sequences:
        found.append(
            f"the rollout's cache of {gib(engine.cache)} holds no sequence of {job.prompt + job.response} tokens: "
            "raise rollout.gpu_memory_utilization or rollout.tensor_model_parallel_size"
        )
    return found


def trainer_lines(job: Job) -> Iterator[tuple[str, str]]:
    """Yield (what, how much) for the trainer."""
    memory = trainer_memory(job)
    yield "model", f"{job.shape.weights / 1e6:,.1f} M weights, {job.trained / 1e6:,.1f} M trained"
    yield "weights", gib(memory.weights)
    yield "gradients", gib(memory.gradients)
    yield "AdamW's moments", gib(memory.moments)
    yield "gathered weights", gib(memory.gathered)
    yield f"activations of {job.tokens:,} tokens", gib(memory.activations)
    yield "their logits", gib(memory.logits)
    yield "an update holds at most", gib(memory.update)


def rollout_lines(job: Job, device: Device, steps: int | None) -> Iterator[tuple[str, str]]:
    """Yield (what, how much) for the rollout's part of a device, and for the time."""
    engine, time = rollout_memory(job, device.memory), step_time(job, device)
    yield "the trainer keeps meanwhile", gib(resident(job, trainer_memory(job)))
    yield "the rollout's share", gib(engine.share)
    yield "its weights", gib(engine.weights)
    yield "its cache", f"{gib(engine.cache)}, {engine.sequences} sequences of full length at once"
    yield "a step's rollout", f"{time.rollout:,.0f} s, if every completion has full length"
    yield "a step's update", f"{time.update:,.0f} s, likewise"
    if steps is not None:
        yield f"{steps:,} steps", f"{steps * time.step / 3600:,.1f} h, without searches and verifiers"


def gib(size: float) -> str:
    """Return bytes as GiB with one decimal."""
    return f"{size / GIB:,.1f} GiB"
