"""Piece: the engine's ways to compute an update with the taxonomy, each held to the plainest one.

The plainest is padded rows, PyTorch's own attention and float32. A case updates a random Qwen3 model of vocabulary
151,936 once by SGD; loss, taxonomy and the moved weights are compared.
"""

import gc
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.cases import Cases, NotThereError, Numbers, Setting, at_most, piece
from benchmarks.gpu.worker import ModelSize, WorkerSettings, make_rows, make_worker, save_model, update, use
from wapo_verl.engine.step_plan import StepPlan
from wapo_verl.taxonomy import token_statistics

PLAIN = WorkerSettings()
PACKED = replace(PLAIN, remove_padding=True)
FLASH = replace(PLAIN, attention="flash_attention_2", dtype="bf16")
EXACT, ROUNDED = 2e-3, 5e-2
"""The largest difference, in parts of the largest value, in float32 and where anything is bf16."""


@dataclass(frozen=True)
class Way:
    """A way to compute an update.

    Attributes:
        name: of the case.
        settings: the worker's.
        limit: the largest difference to the plainest way.
        gpu: whether the CPU cannot do it.
        needs: a module without which it is not there.
        taxonomy: whether the update measures the taxonomy, which the plain way then does too.
    """

    name: str
    settings: WorkerSettings
    limit: float = EXACT
    gpu: bool = False
    needs: str = ""
    taxonomy: bool = True


WAYS = (
    Way("padded rows, again", PLAIN),
    Way("padding removed, PyTorch's attention", PACKED),
    Way("packed by tokens", replace(PACKED, micro_batch=None, tokens=256)),
    Way("activations computed again", replace(PLAIN, checkpointing=True)),
    Way("weights and optimizer offloaded", replace(PLAIN, offload=True)),
    Way("FSDP2's own offload", replace(PLAIN, offload_policy=True), gpu=True),
    Way("FSDP1", replace(PLAIN, strategy="fsdp"), gpu=True),
    Way("bf16", replace(PLAIN, dtype="bf16"), ROUNDED),
    Way("bf16, packed by tokens", replace(PACKED, dtype="bf16", micro_batch=None, tokens=256), ROUNDED),
    Way("flash attention, padded", FLASH, ROUNDED, gpu=True, needs="flash_attn"),
    Way("flash attention, padding removed", replace(FLASH, remove_padding=True), ROUNDED, gpu=True, needs="flash_attn"),
    Way("fused kernels (torch)", replace(PACKED, fused="torch"), ROUNDED, taxonomy=False),
    Way("fused kernels (triton)", replace(PACKED, fused="triton"), ROUNDED, gpu=True, taxonomy=False),
)


@dataclass(frozen=True)
class Bench:
    """The model and the rows that every way updates."""

    model: Path
    rows: dict[str, list[torch.Tensor]]
    length: int


@dataclass(frozen=True)
class Updated:
    """What an update came to: its metrics, and how far each weight moved, on the CPU in float32."""

    metrics: dict[str, float]
    moved: dict[str, torch.Tensor]


def updated(bench: Bench, settings: WorkerSettings, taxonomy: bool) -> Updated:
    """Update once from the model's own weights."""
    worker = make_worker(bench.model, settings, bench.length, len(bench.rows["input_ids"]))
    before = trained_weights(worker)
    metrics = update(worker, bench.rows, StepPlan(taxonomy=taxonomy))
    after = trained_weights(worker)
    moved = {name: after[name] - before[name] for name in before}
    del worker, before, after
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return Updated(metrics, moved)


def trained_weights(worker: Any) -> dict[str, torch.Tensor]:
    """Copy the weights that are trained to the CPU."""
    found, _ = worker.engine.get_per_tensor_param()
    return {name: weights.detach().float().cpu().clone() for name, weights in found}


def compare(way: Way, bench: Bench, plain: dict[bool, Updated], device: str) -> Numbers:
    """Update in a way, and compare it with the plainest."""
    if way.gpu and device == "cpu":
        raise NotThereError("it needs a GPU")
    if way.needs and find_spec(way.needs) is None:
        raise NotThereError(f"the package {way.needs} is not installed")
    if way.taxonomy not in plain:
        plain[way.taxonomy] = updated(bench, PLAIN, way.taxonomy)
    expected, found = plain[way.taxonomy], updated(bench, way.settings, way.taxonomy)
    scale = max(float(weights.abs().max()) for weights in expected.moved.values())
    if not scale > 0:
        raise AssertionError("no weight moved, so the comparison would show nothing")
    gap = max(float((found.moved[name] - expected.moved[name]).abs().max()) for name in expected.moved) / scale
    numbers: Numbers = {"update": gap}
    numbers["loss"] = difference("actor/pg_loss", found, expected)
    if way.taxonomy:
        numbers["taxonomy"] = max(difference(name, found, expected) for name in taxonomy_names(expected))
    for name, value in numbers.items():
        at_most(f"the difference of {name}", float(value), way.limit)
    return numbers


def difference(name: str, found: Updated, expected: Updated) -> float:
    """Return the difference of a metric in parts of its value."""
    wanted = expected.metrics[name]
    return abs(found.metrics[name] - wanted) / max(abs(wanted), 1e-6)


def taxonomy_names(expected: Updated) -> list[str]:
    """Name the taxonomy's counts of tokens, of all four bins."""
    names = [f"actor/taxonomy/tokens/{sign}_{place}" for sign in ("pos", "neg") for place in ("peak", "valley")]
    assert all(expected.metrics[name] > 0 for name in names), "a bin is empty, so the comparison would show little"
    return names


def lora(bench: Bench) -> Numbers:
    """Adapters start as nothing: loss and taxonomy are the model's own, and only adapters move."""
    worker = make_worker(bench.model, replace(PLAIN, lora=8), bench.length, len(bench.rows["input_ids"]))
    before = adapters(worker)
    metrics = update(worker, bench.rows, StepPlan(taxonomy=True))
    moved = max(float((weights - before[name]).abs().max()) for name, weights in adapters(worker).items())
    assert before
    assert moved > 0, "no adapter moved"
    return {"adapters": len(before), "moved": moved, "grad_norm": metrics["grad_norm"]}


def adapters(worker: Any) -> dict[str, torch.Tensor]:
    """Copy the weights with a gradient to the CPU, and check that they are LoRA's."""
    trained = {name: each for name, each in worker.engine.module.named_parameters() if each.requires_grad}
    assert all("lora" in name for name in trained), "a weight of the model itself is trained"
    return {name: each.detach().full_tensor().float().cpu().clone() for name, each in trained.items()}


def refused(bench: Bench) -> Numbers:
    """Fused kernels make no logits, which the taxonomy needs: the engine says so."""
    worker = make_worker(bench.model, replace(PACKED, fused="torch"), bench.length, len(bench.rows["input_ids"]))
    try:
        update(worker, bench.rows, StepPlan(taxonomy=True))
    except RuntimeError as error:
        if "use_fused_kernels=False" in str(error):
            return {}
        raise
    raise AssertionError("the taxonomy was measured without logits")


def statistics(device: str, dtype: torch.dtype, vocabulary: int) -> Numbers:
    """H, S and the sum of p^2 ln p of next-token distributions, held to float64 on the CPU."""
    logits = (3 * torch.randn(64, vocabulary, generator=torch.Generator().manual_seed(0))).to(dtype)
    found, expected = token_statistics(logits.to(device)), token_statistics(logits.double())
    numbers: Numbers = {}
    for name in type(found).__slots__:
        wanted = getattr(expected, name)
        gap = (getattr(found, name).double().cpu() - wanted).abs().max() / wanted.abs().max()
        numbers[name] = float(gap)
        at_most(f"the difference of {name}", float(gap), 1e-4)
    return numbers


def run(cases: Cases, setting: Setting) -> None:
    """Run every way."""
    use(setting.device)
    size = ModelSize(64, 1, 2, 1, 128) if setting.small else ModelSize(512, 4, 4, 2, 1536)
    model = setting.out / "model"
    save_model(model, size, setting.device)
    length = 16 if setting.small else 128
    bench = Bench(model, make_rows(8, length, size.vocabulary), length)
    for dtype in (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        cases.run(f"statistics of logits in {name}", statistics, setting.device, dtype, size.vocabulary)
    plain: dict[bool, Updated] = {}
    cases.run("LoRA", lora, bench)
    for way in WAYS:  # fused kernels last: they change the model's class in this process
        cases.run(way.name, compare, way, bench, plain, setting.device)
    cases.run("the taxonomy with fused kernels is refused", refused, bench)


if __name__ == "__main__":
    piece(run)
