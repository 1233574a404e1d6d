"""Measure what an update of a random model takes on this CPU, and print it beside what `wapo_verl.estimate` computes.

python -m benchmarks.update_memory [--checkpointing] [--lora-rank 8] [--layers 8] [--hidden 512] [--vocabulary 20000]

One process, veRL's FSDP2 engine in float32, padded rows. Memory is the process's resident set: what is there before the
engine is made is taken off, and glibc is told to give freed memory back. The last line is: computed, measured bytes.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch

from wapo_verl.estimate.memory import Job, trainer_memory
from wapo_verl.estimate.models import shape_of

ROWS, PROMPT, RESPONSE = 2, 128, 384
"""Rows of a micro-batch, and their tokens."""

GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""Without it holes of freed memory are counted too: 18 % were seen."""


def main() -> None:
    """Make a model, train two micro-batches, print both numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--lora-rank", type=int, default=0)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=512, help="a multiple of 256")
    parser.add_argument("--vocabulary", type=int, default=20000)
    asked = parser.parse_args()
    if not GIVE_BACK.keys() <= os.environ.keys():
        os.environ |= {**GIVE_BACK, "VERL_PLATFORM": "cpu"}
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.update_memory", *sys.argv[1:]])
    with tempfile.TemporaryDirectory() as folder:
        _save_model(Path(folder), asked)
        measured = _measure(Path(folder), asked)
        computed = trainer_memory(_job(folder, asked)).update
    print(f"{asked}: {computed / 1e6:,.0f} MB computed, {measured / 1e6:,.0f} measured, {computed / measured - 1:+.1%}")
    print(computed, measured)


def _save_model(folder: Path, asked: argparse.Namespace) -> None:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from examples.quickstart.tokenizer import make_tokenizer

    make_tokenizer().save_pretrained(folder)
    config = Qwen3Config(
        vocab_size=asked.vocabulary,
        hidden_size=asked.hidden,
        intermediate_size=asked.hidden * 10 // 3,
        num_hidden_layers=asked.layers,
        num_attention_heads=asked.hidden // 64,
        num_key_value_heads=asked.hidden // 256,
        head_dim=64,
        tie_word_embeddings=True,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)


def _job(folder: str, asked: argparse.Namespace) -> Job:
    """What the estimator needs to know of this update."""
    return Job(
        shape=shape_of(folder),
        devices=1,
        shards=1,
        master=4,
        compute=4,
        lora_rank=asked.lora_rank,
        checkpointing=asked.checkpointing,
        tokens=ROWS * (PROMPT + RESPONSE),
        packed=False,
        entropy=True,
        compiled=False,
        fused=False,
        offload_weights=False,
        offload_optimizer=False,
        completions=2 * ROWS,
        prompt=PROMPT,
        response=RESPONSE,
        extra_forwards=0,
        tensor_parallel=1,
        rollout=4,
        max_sequences=1,
        utilization=None,
        frees_cache=False,
    )


def _measure(folder: Path, asked: argparse.Namespace) -> int:
    """Return how far the process grows, from before the engine to the peak of its second update."""
    from verl.trainer.config import CheckpointConfig
    from verl.workers.config import FSDPEngineConfig, FSDPOptimizerConfig, HFModelConfig
    from verl.workers.utils.losses import ppo_loss

    from wapo_verl.engine.engine import StepPlanEngine
    from wapo_verl.verl_plugin.algorithms import register_all
    from wapo_verl.verl_plugin.start import ENGINE

    register_all()
    store = torch.distributed.FileStore(str(folder / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    before = _status("VmRSS")
    engine = StepPlanEngine(
        model_config=HFModelConfig(
            path=str(folder),
            external_lib=[ENGINE],
            use_remove_padding=False,
            enable_gradient_checkpointing=asked.checkpointing,
            lora_rank=asked.lora_rank,
            target_modules="all-linear",
            override_config={"attn_implementation": "sdpa"},
        ),
        engine_config=FSDPEngineConfig(
            strategy="fsdp2",
            dtype="float32",
            model_dtype="float32",
            mixed_precision={"param_dtype": "fp32", "reduce_dtype": "fp32", "buffer_dtype": "fp32"},
            use_torch_compile=False,
        ),
        optimizer_config=FSDPOptimizerConfig(lr=1e-5, total_training_steps=10),
        checkpoint_config=CheckpointConfig(),
    )
    engine.model_config.model_type = "language_model"
    engine.initialize()
    loss = partial(ppo_loss, config=_actor())
    _update(engine, loss, asked.vocabulary, 4, 4)  # makes the optimizer's moments
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    _update(engine, loss, asked.vocabulary, PROMPT, RESPONSE)
    return _status("VmHWM") - before


def _actor() -> Any:
    from verl.workers.config import FSDPActorConfig, PolicyLossConfig

    return FSDPActorConfig(
        strategy="fsdp2",
        rollout_n=2,
        ppo_micro_batch_size_per_gpu=ROWS,
        clip_ratio_high=9.0,
        loss_agg_mode="seq-mean-token-sum-norm",
        loss_scale_factor=PROMPT + RESPONSE,
        calculate_entropy=True,
        policy_loss=PolicyLossConfig(loss_mode="wapo"),
    )


def _update(engine: Any, loss: Any, vocabulary: int, prompt: int, response: int) -> None:
    """Train two micro-batches, so that the second finds the first one's gradients."""
    from verl.utils import tensordict_utils as tu

    def rows(make: Any) -> torch.Tensor:
        return torch.nested.as_nested_tensor([make() for _ in range(2 * ROWS)], layout=torch.jagged)

    ids = [torch.randint(5, vocabulary, (prompt + response,)) for _ in range(2 * ROWS)]
    kept = torch.nested.as_nested_tensor(ids, layout=torch.jagged)
    log_probs, mask = rows(lambda: -4 * torch.rand(response)), rows(lambda: torch.ones(response, dtype=torch.long))
    data = tu.get_tensordict(
        {
            "input_ids": kept,
            "prompts": torch.nested.as_nested_tensor([row[:prompt] for row in ids], layout=torch.jagged),
            "responses": torch.nested.as_nested_tensor([row[prompt:] for row in ids], layout=torch.jagged),
            "position_ids": rows(lambda: torch.arange(prompt + response)),
            "response_mask": mask,
            "loss_mask": mask,
            "old_log_probs": log_probs,
            "rollout_log_probs": log_probs,
            "advantages": rows(lambda: torch.ones(response)),
        },
        {"pad_mode": "no_padding"},
    )
    settings = {"use_dynamic_bsz": False, "use_fused_kernels": False, "use_remove_padding": False, "temperature": 1.0}
    sizes = {"dp_size": 1, "batch_num_tokens": 2 * ROWS * response, "global_batch_size": 2 * ROWS}
    tu.assign_non_tensor(data, **settings, **sizes, micro_batch_size_per_gpu=ROWS, calculate_entropy=True)
    with engine.train_mode():
        engine.train_batch(data, loss)


def _status(name: str) -> int:
    """Return a line of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
