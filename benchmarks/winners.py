"""Measure the actor's update on the whole batch and on its winners alone, side by side, and write the results.

    OMP_NUM_THREADS=2 python -m benchmarks.winners [--note "..."] [--quick]

An update is all that veRL's own training worker does for one batch: the batch's tensors made, forward, WAPO's loss,
backward, gradient clipping, AdamW, for each mini-batch, on one rank of FSDP2 on the CPU; with the winners alone also
choosing them and one call for each mini-batch. Whole and winners-only updates take turns in one process. Results:
benchmarks/winners.md and docs/winners.png. Rollout, log-probabilities outside the update, and Ray are not measured.
"""

import ctypes
import gc
import os
import random
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.winners_report import Cost, Found, Setting, draw, page
from examples.quickstart.model import make_model
from examples.quickstart.tokenizer import make_tokenizer
from wapo_verl.algorithms import ALGORITHMS, Batch
from wapo_verl.engine.step_plan import PLAN_KEY, StepPlan
from wapo_verl.training.row_selection import balanced, members, mini_batches, update_orders

PAGE, FIGURE = Path("benchmarks/winners.md"), Path("docs/winners.png")
VOCABULARY = 32_000
MEGABYTE = 1e6


SETTINGS = (
    Setting("tiny", 128, 40, 10, rounds=20),
    Setting("tiny", 512, 40, 10, rounds=6),
    Setting("0.1B", 128, 20, 5, rounds=6),
    Setting("0.1B", 512, 12, 3, rounds=4),
)
QUICK = tuple(replace(setting, tokens=setting.tokens // 8, rows=12, micro_batch=3, rounds=1) for setting in SETTINGS)


def save_model(name: str, folder: Path) -> int:
    """Write a model and a tokenizer for veRL to load; return the number of its weights."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    if name == "tiny":
        model = make_model(tokenizer, seed=0)
    else:
        torch.manual_seed(0)
        model = Qwen3ForCausalLM(
            Qwen3Config(
                vocab_size=VOCABULARY,
                hidden_size=768,
                intermediate_size=2304,
                num_hidden_layers=11,
                num_attention_heads=12,
                num_key_value_heads=4,
                head_dim=64,
                tie_word_embeddings=True,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
                dtype="float32",
            )
        )
    model.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def make_worker(folder: Path, setting: Setting) -> Any:
    """Start veRL's training worker, on this process as its only rank, with the settings that a run on a CPU gets."""
    from verl.trainer.config import CheckpointConfig
    from verl.workers.config import (
        FSDPActorConfig,
        FSDPEngineConfig,
        FSDPOptimizerConfig,
        HFModelConfig,
        PolicyLossConfig,
    )
    from verl.workers.engine_workers import TrainingWorker, TrainingWorkerConfig
    from verl.workers.utils.losses import ppo_loss

    from wapo_verl.cpu.platform import use as use_cpu
    from wapo_verl.verl_plugin.start import ENGINE

    use_cpu()
    actor = FSDPActorConfig(
        strategy="fsdp2",
        rollout_n=1,
        ppo_mini_batch_size=setting.mini_batch,
        ppo_micro_batch_size_per_gpu=setting.micro_batch,
        clip_ratio_high=9.0,
        loss_agg_mode="seq-mean-token-sum-norm",
        loss_scale_factor=2 * setting.tokens,
        calculate_entropy=True,
        policy_loss=PolicyLossConfig(loss_mode="wapo"),
    )
    worker = TrainingWorker(
        TrainingWorkerConfig(
            model_type="language_model",
            model_config=HFModelConfig(
                path=str(folder),
                external_lib=[ENGINE],
                use_remove_padding=False,
                enable_gradient_checkpointing=False,
                override_config={"attn_implementation": "sdpa"},
            ),
            engine_config=FSDPEngineConfig(
                strategy="fsdp2",
                dtype="float32",
                model_dtype="float32",
                mixed_precision={"param_dtype": "fp32", "reduce_dtype": "fp32", "buffer_dtype": "fp32"},
                use_torch_compile=False,
                use_dynamic_bsz=False,
                micro_batch_size_per_gpu=setting.micro_batch,
            ),
            optimizer_config=FSDPOptimizerConfig(lr=1e-6, total_training_steps=1000),
            checkpoint_config=CheckpointConfig(),
        )
    )
    worker.reset()
    worker.set_loss_fn(partial(ppo_loss, config=actor))
    return worker


@dataclass(frozen=True)
class Rows:
    """A batch row by row, each field a tensor a row, in the order in which veRL deals it out."""

    fields: dict[str, list[torch.Tensor]]
    carries: list[bool]
    lengths: list[int]

    @classmethod
    def drawn(cls, setting: Setting, fraction: float, vocabulary: int, seed: int) -> "Rows":
        """Draw lengths and tokens by the seed alone, and which rows win by the seed and the fraction."""
        dice, generator = random.Random(seed), torch.Generator().manual_seed(seed)
        prompt = setting.tokens // 4
        lengths = [dice.randint(setting.tokens // 2, 3 * setting.tokens // 2) for _ in range(setting.rows)]
        tokens = [torch.randint(5, vocabulary, (length,), generator=generator) for length in lengths]
        masks = [torch.ones(length - prompt, dtype=torch.int64) for length in lengths]
        # Each winner has a loser in a group of its own: who wins does not then hang on the rest of the batch.
        won = winners_as_long_as_the_rest(lengths, round(fraction * setting.rows), random.Random(f"{seed} {fraction}"))
        rewards = torch.tensor([float(row in won) for row in range(setting.rows)] + [0.0] * setting.rows)
        found = ALGORITHMS["wapo"]
        groups = torch.arange(setting.rows).repeat(2)
        rows = found.advantages(Batch(rewards, groups), found.default_options()).rows[: setting.rows].float()
        return cls(
            fields={
                "prompts": [row[:prompt] for row in tokens],
                "responses": [row[prompt:] for row in tokens],
                "input_ids": tokens,
                "position_ids": [torch.arange(length) for length in lengths],
                "response_mask": masks,
                "loss_mask": masks,
                "old_log_probs": [torch.full((len(mask),), -10.0) for mask in masks],
                "advantages": [row * mask for row, mask in zip(rows, masks, strict=True)],
            },
            carries=(rows != 0).tolist(),
            lengths=lengths,
        )


def winners_as_long_as_the_rest(lengths: list[int], count: int, dice: random.Random, draws: int = 200) -> set[int]:
    """Of `draws` samples of `count` rows, the one with a mean length closest to all rows'.

    The few winners of one batch are longer or shorter than its losers by chance, and that is not what is measured.
    """
    mean = statistics.mean(lengths)
    samples = (dice.sample(range(len(lengths)), count) for _ in range(draws))
    return set(min(samples, key=lambda rows: abs(statistics.mean(lengths[row] for row in rows) - mean)))


def nested(rows: Iterable[torch.Tensor]) -> torch.Tensor:
    """Put rows into one jagged tensor, as veRL's queue hands them to a worker."""
    return torch.nested.as_nested_tensor(list(rows), layout=torch.jagged)


def update(worker: Any, batch: Rows, setting: Setting, winners: bool) -> int:
    """Update on the batch, or on its winners alone; return the token positions computed on, padding included."""
    from verl.utils import tensordict_utils as tu

    plan, size = StepPlan().to_dict(), setting.mini_batch
    if winners:
        parts = mini_batches(batch.carries, batch.lengths, 1, size, setting.micro_batch, balanced)
        orders = list(update_orders(parts, size, 1, plan))
    else:
        dealt = [row for rows in members(setting.rows, 1, size) for row in rows]
        beside: dict[str, Any] = {"global_batch_size": size, "mini_batch_size": size, "epochs": 1, PLAN_KEY: plan}
        beside |= {"dataloader_kwargs": {"shuffle": False}, "micro_batch_size_per_gpu": setting.micro_batch}
        orders = [(tuple(dealt), beside)]
    positions = 0
    for rows, beside in orders:
        data = tu.get_tensordict(
            {name: nested(values[row] for row in rows) for name, values in batch.fields.items()},
            {"seed": 0, "temperature": 1.0, "calculate_entropy": True, "pad_mode": "no_padding", **beside},
        )
        worker.train_mini_batch(data)
        step = beside["micro_batch_size_per_gpu"]
        micro_batches = [[batch.lengths[row] for row in rows[at : at + step]] for at in range(0, len(rows), step)]
        positions += sum(len(lengths) * max(lengths) for lengths in micro_batches)
    return positions


def timed(worker: Any, batch: Rows, setting: Setting, winners: bool) -> Cost:
    """Update once, by the clock and by the kernel's high-water mark of resident memory, which is set back before.

    Garbage is collected before, not meanwhile, and the allocator gives back what it kept from earlier, so that every
    update begins alike.
    """
    gc.collect()
    gc.disable()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before, wall, cpu = _status_mb("VmRSS"), time.perf_counter(), time.process_time()
    positions = update(worker, batch, setting, winners)
    cost = Cost(time.perf_counter() - wall, time.process_time() - cpu, positions, before, _status_mb("VmHWM"))
    gc.enable()
    return cost


def _status_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / MEGABYTE


def measure(worker: Any, found: Found, vocabulary: int) -> None:
    """Fill `found` round by round, in place; the first update does not count.

    In a round the whole batch comes beside the one that all win, first in one round and second in the next, since these
    two are compared most closely.
    """
    setting = found.setting
    update(worker, Rows.drawn(setting, setting.fractions[0], vocabulary, seed=0), setting, winners=True)
    found.winners = {fraction: [] for fraction in setting.fractions}
    for number in range(1, setting.rounds + 1):
        last: list[float | None] = [None, 1.0]
        for fraction in [*setting.fractions[:-1], *(last if number % 2 else reversed(last))]:
            batch = Rows.drawn(setting, fraction or 1.0, vocabulary, seed=number)
            cost = timed(worker, batch, setting, winners=fraction is not None)
            (found.whole if fraction is None else found.winners[fraction]).append(cost)
            what = "whole" if fraction is None else f"winners {fraction:.2g}"
            say(
                f"  {setting.name}, round {number}, {what}: {cost.wall:.2f} s, {cost.cpu:.2f} CPU s, {cost.peak:.0f} MB"
            )


def say(line: str) -> None:
    """Show progress."""
    print(line, flush=True)


def alone_in_its_group() -> None:
    """Tell torch that this process is the only rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = {"WORLD_SIZE": 1, "RANK": 0, "LOCAL_RANK": 0, "MASTER_PORT": port}
    os.environ.update({"MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in ranks.items()}})


def main(
    note: Annotated[str, typer.Option(help="A sentence about the conditions.")] = "",
    quick: Annotated[bool, typer.Option("--quick", help="Only see that it runs: short rows, one round.")] = False,
    into: Annotated[
        Path | None, typer.Option(help="Folder for the results, else the repository; none if quick.")
    ] = None,
    only: Annotated[str, typer.Option(help="Measure this model alone.")] = "",
) -> None:
    """Measure everything; results are written after every setting, so that an interrupted run leaves what it has."""
    alone_in_its_group()
    root = into or (None if quick else Path(__file__).parents[1])
    started, results = time.perf_counter(), []
    model, worker, parameters = "", None, 0
    for setting in (some for some in (QUICK if quick else SETTINGS) if only in some.model):
        if setting.model != model:
            worker = None  # its weights go before the next one's come
            gc.collect()
            with tempfile.TemporaryDirectory() as place:
                model, parameters = setting.model, save_model(setting.model, Path(place))
                worker = make_worker(Path(place), setting)
        assert worker is not None
        found = Found(setting, parameters)
        measure(worker, found, worker.model_config.hf_config.vocab_size)
        results.append(found)
        say(f"{time.perf_counter() - started:.0f} s after the start: {setting.name} is done")
        if root is not None:
            for file in (PAGE, FIGURE):
                (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / PAGE).write_text(page(results, note), encoding="utf-8")
            draw(results, root / FIGURE)
    sys.stdout.write(page(results, note))


if __name__ == "__main__":
    typer.run(main)
