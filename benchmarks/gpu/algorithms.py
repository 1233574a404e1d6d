"""Piece: every algorithm's loss and gradient on the device, held to float64 on the CPU.

Both go through veRL's own loss code, as the gradient tests of `tests/wapo_verl/algorithms` do, which hold the float64
gradient to each algorithm's formula.
"""

import math
import random

import torch
from support.verl_update import Row, Split, actor_config, advantages_from_keys, drawn_log_probs, verl_gradient

from benchmarks.gpu.cases import Cases, Numbers, Setting, at_most, piece
from wapo_verl.algorithms import ALGORITHMS
from wapo_verl.verl_plugin.algorithms import register_all

LIMITS = {torch.float32: 1e-5, torch.bfloat16: 3e-2}
"""The largest difference of a gradient, in parts of the largest gradient; bf16 has 8 bits."""

SPLIT = Split(ranks=1, mini_batch=16, micro_batches=(5, 11))


def make_rows(groups: int = 8, size: int = 4) -> list[Row]:
    """Draw groups of different rewards, with rows of different lengths, some of whose tokens a tool wrote."""
    dice = random.Random(0)
    rows = []
    for group in range(groups):
        for completion in range(size):
            mask = tuple(int(dice.random() < 0.8) for _ in range(dice.randint(2, 12)))
            rows.append(Row(f"prompt_{group}", completion, 0, dice.randint(0, 10), False, mask, dice.randint(1, 3)))
    return rows


def compare(name: str, dtype: torch.dtype, device: str) -> Numbers:
    """Compare an algorithm's gradient and loss on the device with float64's from the same rounded log-probs."""
    rows = make_rows()
    log_probs, old = ([values.to(dtype) for values in drawn] for drawn in drawn_log_probs(rows, seed=1))
    advantages = advantages_from_keys(rows, name)
    actor = actor_config(name, 0.2, 9.0)

    exact = [[values.double() for values in drawn] for drawn in (log_probs, old)]
    expected, before = verl_gradient(rows, SPLIT, *exact, advantages, actor)
    there = [[values.to(device) for values in drawn] for drawn in (log_probs, old)]
    found, after = verl_gradient(rows, SPLIT, *there, advantages.float().to(device), actor)

    assert all(values.device.type == device for values in found)
    scale = max(float(values.abs().max()) for values in expected)
    gaps = [float((one.double().cpu() - other).abs().max()) for one, other in zip(found, expected, strict=True)]
    numbers: Numbers = {"gradient": max(gaps) / scale}
    at_most("the gradient's difference", max(gaps) / scale, LIMITS[dtype])
    loss, wanted = float(after["actor/pg_loss"]), float(before["actor/pg_loss"])
    assert math.isfinite(loss)
    numbers["loss"] = abs(loss - wanted) / max(abs(wanted), scale)
    at_most("the loss's difference", float(numbers["loss"]), LIMITS[dtype])
    return numbers


def run(cases: Cases, setting: Setting) -> None:
    """Run every algorithm in both dtypes."""
    register_all()
    for name in ALGORITHMS:
        for dtype in LIMITS:
            cases.run(f"{name}, {str(dtype).removeprefix('torch.')}", compare, name, dtype, setting.device)


if __name__ == "__main__":
    piece(run)
