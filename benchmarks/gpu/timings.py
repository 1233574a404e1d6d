"""Piece: what an update takes with 1.5 billion random weights: with the taxonomy, and by the share of winners.

An update is all that veRL's worker does for a batch, as in `benchmarks.winners`; medians of some rounds, after one that
does not count. Every number but `GB` is in seconds or says what it is divided by.
"""

import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks import winners
from benchmarks.gpu.cases import Cases, Numbers, Setting, piece
from benchmarks.gpu.worker import LARGE, ModelSize, WorkerSettings, make_rows, make_worker, save_model, update, use
from benchmarks.winners_report import Setting as Batch
from wapo_verl.engine.step_plan import StepPlan

LARGE_BATCH = Batch("1.5B", tokens=1024, rows=32, micro_batch=4, rounds=3)
SMALL_BATCH = Batch("tiny", tokens=16, rows=8, micro_batch=2, rounds=1)
SMALL = ModelSize(64, 1, 2, 1, 128, vocabulary=1000)


def seconds(rounds: int, what: Callable[[], Any]) -> tuple[float, float]:
    """Return the median seconds of a call, and the largest memory that tensors took, in GB."""
    from verl.utils.device import get_torch_device

    device, taken = get_torch_device(), []
    what()
    device.reset_peak_memory_stats()
    for _ in range(rounds):
        device.synchronize()
        started = time.perf_counter()
        what()
        device.synchronize()
        taken.append(time.perf_counter() - started)
    return median(taken), device.max_memory_allocated() / 1e9


def taxonomy_costs(worker: Any, batch: Batch, vocabulary: int) -> Numbers:
    """Compare updates with and without the taxonomy, on the same rows."""
    rows = make_rows(batch.rows, batch.tokens, vocabulary)
    beside = {"micro_batch_size_per_gpu": batch.micro_batch}
    plain, memory = seconds(batch.rounds, lambda: update(worker, rows, StepPlan(), **beside))
    measured, more = seconds(batch.rounds, lambda: update(worker, rows, StepPlan(taxonomy=True), **beside))
    tokens = sum(map(len, rows["input_ids"]))
    return {
        "tokens": tokens,
        "plain": plain,
        "with taxonomy": measured,
        "with / plain": measured / plain,
        "GB": memory,
        "GB with taxonomy": more,
    }


def winners_take(worker: Any, batch: Batch, vocabulary: int, share: float | None, whole: list[float]) -> Numbers:
    """Time an update of the winners alone, or of the whole batch where `share` is None; `whole` keeps its seconds."""
    rows = winners.Rows.drawn(batch, share or 1.0, vocabulary, seed=1)
    taken, memory = seconds(batch.rounds, lambda: winners.update(worker, rows, batch, winners=share is not None))
    if share is None:
        whole.append(taken)
        return {"seconds": taken, "GB": memory}
    ratio: Numbers = {"of the whole": taken / whole[0]} if whole else {}
    return {"seconds": taken, **ratio, "GB": memory}


def make(setting: Setting, folder: Path) -> tuple[Any, int]:
    """Return the worker, and the model's vocabulary."""
    size, batch = (SMALL, SMALL_BATCH) if setting.small else (LARGE, LARGE_BATCH)
    weights = save_model(folder, size, setting.device, "bfloat16")
    print(f"{weights:,} weights", flush=True)
    settings = WorkerSettings(
        dtype="fp32" if setting.device == "cpu" else "bf16",
        attention="flash_attention_2" if find_spec("flash_attn") and setting.device == "cuda" else "sdpa",
        remove_padding=True,
        micro_batch=batch.micro_batch,
        checkpointing=True,
        optimizer="AdamW",
        learning_rate=1e-6,
    )
    return make_worker(folder, settings, 2 * batch.tokens, batch.mini_batch), size.vocabulary


def run(cases: Cases, setting: Setting) -> None:
    """Time everything with one worker."""
    use(setting.device)
    batch = SMALL_BATCH if setting.small else LARGE_BATCH
    worker, vocabulary = make(setting, setting.out / "model")
    cases.run(f"an update of {batch.model}, with the taxonomy", taxonomy_costs, worker, batch, vocabulary)
    whole: list[float] = []
    for share in (None, *batch.fractions):
        name = "the whole batch" if share is None else f"the winners alone, w = {share:.2g}"
        cases.run(name, winners_take, worker, batch, vocabulary, share, whole)
    if torch.cuda.is_available():
        print(torch.cuda.memory_summary(abbreviated=True))


if __name__ == "__main__":
    piece(run)
