"""Compute the seconds of a step in which every completion is as long as it may be, from a device's data sheet.

Training is bound by multiplications: 2 per weight and token forward, twice that backward (arXiv 2001.08361), and half
of the backward pass where the weights are frozen. Decoding is bound by reading weights and cache (arXiv 2211.05102).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from wapo_verl.estimate.memory import Job, rollout_memory

GIB = 2**30

TRAINING_EFFICIENCY = 0.35
"""Share of the data sheet's multiplications that training reaches: assumed, to be measured."""

DECODING_EFFICIENCY = 0.6
"""Share of the data sheet's bandwidth that decoding reaches: assumed, to be measured."""


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU as its data sheet says: bytes, dense bfloat16 operations a second, bytes a second."""

    memory: int
    operations: float
    bandwidth: float


DEVICES: Mapping[str, Device] = {
    "rtx4090": Device(24 * GIB, 165e12, 1008e9),
    "l4": Device(24 * GIB, 121e12, 300e9),
    "a100": Device(80 * GIB, 312e12, 2039e9),
    "h100": Device(80 * GIB, 989e12, 3350e9),
    "h200": Device(141 * GIB, 989e12, 4800e9),
}
"""NVIDIA's data sheets; a100 and h100 are the SXM boards of 80 GB."""


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds of a step's parts; searching, verifying and moving weights are not in it."""

    rollout: float
    update: float

    @property
    def step(self) -> float:
        """Both parts."""
        return self.rollout + self.update


def step_time(job: Job, device: Device) -> StepTime:
    """Compute a step's seconds on `job.devices` devices of a kind."""
    return StepTime(rollout=_rollout_seconds(job, device), update=_update_seconds(job, device))


def _update_seconds(job: Job, device: Device) -> float:
    """Return the seconds of the forward and backward passes over all tokens of a step."""
    length = job.prompt + job.response
    attention = 2 * job.shape.layers * job.shape.queries * length  # a token sees half of its sequence on average
    forward = 2 * job.shape.multiplied_weights + attention
    backward = (1 if job.lora_rank else 2) * 2 * job.shape.multiplied_weights + 2 * attention
    passes = 1 + job.extra_forwards + (1 if job.checkpointing else 0)
    operations = job.completions * length * (passes * forward + backward)
    return operations / (job.devices * device.operations * TRAINING_EFFICIENCY)


def _rollout_seconds(job: Job, device: Device) -> float:
    """Return the seconds in which the engines decode their part of a step, a wave of sequences after the other."""
    engine = rollout_memory(job, device.memory)
    if not engine.sequences:
        return math.inf
    share = math.ceil(job.completions * job.tensor_parallel / job.devices)
    waves = math.ceil(share / engine.sequences)
    cached = engine.token * math.ceil(share / waves) * (job.prompt + job.response / 2)
    return waves * job.response * (engine.weights + cached) / (device.bandwidth * DECODING_EFFICIENCY)
