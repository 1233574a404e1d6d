"""veRL's own training worker on this process alone, on the GPU or the CPU, with random models and batches."""

import random
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.winners import alone_in_its_group, nested
from examples.quickstart.tokenizer import make_tokenizer
from wapo_verl.engine.loss_metrics import finish_loss_metrics
from wapo_verl.engine.step_plan import PLAN_KEY, StepPlan
from wapo_verl.verl_plugin.start import ENGINE, use_cpu

VOCABULARY = 151_936


@dataclass(frozen=True)
class ModelSize:
    """A Qwen3 model with heads of 128 and tied embeddings."""

    hidden: int
    layers: int
    heads: int
    key_heads: int
    intermediate: int
    vocabulary: int = VOCABULARY


LARGE = ModelSize(hidden=2048, layers=23, heads=16, key_heads=8, intermediate=6144)
"""1.5 billion weights; deeper, it is Qwen3-1.7B."""


@dataclass(frozen=True)
class WorkerSettings:
    """How veRL's worker computes; the defaults are padded rows in float32.

    Attributes:
        strategy: "fsdp2", or "fsdp" on a GPU.
        dtype: of the computation, "fp32" or "bf16"; the weights are float32.
        attention: transformers' name of the attention.
        remove_padding: whether rows are packed into one.
        fused: veRL's fused kernels, "torch" or "triton", or None.
        micro_batch: rows of a micro-batch, or None where veRL packs `tokens`.
        tokens: of a packed micro-batch.
        checkpointing: whether activations are computed again in the backward pass.
        offload: whether weights and optimizer wait in the machine's memory.
        offload_policy: whether FSDP2 itself keeps them there.
        lora: rank of the adapters; 0 trains all weights.
        optimizer: its name in torch. SGD keeps a gradient's rounding as small as it is, AdamW may not.
    """

    strategy: str = "fsdp2"
    dtype: str = "fp32"
    attention: str = "sdpa"
    remove_padding: bool = False
    fused: str | None = None
    micro_batch: int | None = 4
    tokens: int = 16_384
    checkpointing: bool = False
    offload: bool = False
    offload_policy: bool = False
    lora: int = 0
    optimizer: str = "SGD"
    learning_rate: float = 0.1


def use(device: str) -> None:
    """Make this process the only rank on the device."""
    if device == "cpu":
        use_cpu()
    elif not torch.cuda.is_available():
        raise SystemExit("this machine has no GPU that torch can use: give --device cpu --small to see that it runs")
    alone_in_its_group()


def save_model(folder: Path, size: ModelSize, device: str, dtype: str = "float32") -> int:
    """Write a random model, and the quickstart's tokenizer, for veRL to load; return the number of its weights."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    config = Qwen3Config(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        intermediate_size=size.intermediate,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_heads,
        head_dim=128,
        initializer_range=size.hidden**-0.5,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        dtype=dtype,
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = Qwen3ForCausalLM(config).to(getattr(torch, dtype))
    model.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def make_worker(model: Path, settings: WorkerSettings, length: int, mini_batch: int) -> Any:
    """Start veRL's training worker with WAPO's loss, in a process that `use` has prepared; `length` is L."""
    from verl.trainer.config import CheckpointConfig
    from verl.workers.config import FSDPActorConfig, FSDPOptimizerConfig, PolicyLossConfig
    from verl.workers.engine_workers import TrainingWorker, TrainingWorkerConfig
    from verl.workers.utils.losses import ppo_loss

    actor = FSDPActorConfig(
        strategy=settings.strategy,
        rollout_n=1,
        ppo_mini_batch_size=mini_batch,
        ppo_micro_batch_size_per_gpu=settings.micro_batch or 1,
        clip_ratio_high=9.0,
        loss_agg_mode="seq-mean-token-sum-norm",
        loss_scale_factor=length,
        calculate_entropy=True,
        policy_loss=PolicyLossConfig(loss_mode="wapo"),
    )
    optimizer = FSDPOptimizerConfig(
        optimizer=settings.optimizer,
        lr=settings.learning_rate,
        weight_decay=0.0,
        clip_grad=1e9 if settings.optimizer == "SGD" else 1.0,
        total_training_steps=1000,
    )
    worker = TrainingWorker(
        TrainingWorkerConfig(
            model_type="language_model",
            model_config=_model_config(model, settings),
            engine_config=_engine_config(settings),
            optimizer_config=optimizer,
            checkpoint_config=CheckpointConfig(),
        )
    )
    torch.manual_seed(0)  # LoRA's own start
    worker.reset()
    worker.set_loss_fn(partial(ppo_loss, config=actor))
    return worker


def _model_config(model: Path, settings: WorkerSettings) -> Any:
    from verl.workers.config import HFModelConfig

    fused = {"use_fused_kernels": True, "fused_kernel_options": {"impl_backend": settings.fused}}
    lora = {"lora_rank": settings.lora, "lora_alpha": 2 * settings.lora, "target_modules": "all-linear"}
    return HFModelConfig(
        path=str(model),
        external_lib=[ENGINE],
        use_remove_padding=settings.remove_padding,
        enable_gradient_checkpointing=settings.checkpointing,
        override_config={"attn_implementation": settings.attention},
        **(fused if settings.fused else {}),
        **(lora if settings.lora else {}),
    )


def _engine_config(settings: WorkerSettings) -> Any:
    from verl.workers.config import FSDPEngineConfig

    return FSDPEngineConfig(
        strategy=settings.strategy,
        dtype="float32" if settings.dtype == "fp32" else "bfloat16",
        model_dtype="float32",
        mixed_precision={"param_dtype": settings.dtype, "reduce_dtype": "fp32", "buffer_dtype": "fp32"},
        use_torch_compile=False,
        param_offload=settings.offload,
        optimizer_offload=settings.offload,
        offload_policy=settings.offload_policy,
        use_dynamic_bsz=settings.micro_batch is None,
        max_token_len_per_gpu=settings.tokens,
        micro_batch_size_per_gpu=settings.micro_batch,
    )


def make_rows(count: int, length: int, vocabulary: int) -> dict[str, list[torch.Tensor]]:
    """Draw rows of half to one and a half times a length, a quarter of each its prompt; every other one wins."""
    dice, generator = random.Random(0), torch.Generator().manual_seed(0)
    lengths = [dice.randint(length // 2, 3 * length // 2) for _ in range(count)]
    prompts = [each // 4 for each in lengths]
    tokens = [torch.randint(5, vocabulary, (each,), generator=generator) for each in lengths]
    masks = [torch.ones(each - prompt, dtype=torch.int64) for each, prompt in zip(lengths, prompts, strict=True)]
    return {
        "prompts": [row[:prompt] for row, prompt in zip(tokens, prompts, strict=True)],
        "responses": [row[prompt:] for row, prompt in zip(tokens, prompts, strict=True)],
        "input_ids": tokens,
        "position_ids": [torch.arange(each) for each in lengths],
        "response_mask": masks,
        "loss_mask": masks,
        "old_log_probs": [torch.full((len(mask),), -12.0) for mask in masks],
        "advantages": [mask * (1.0 if row % 2 else -0.5) / count for row, mask in enumerate(masks)],
    }


def update(worker: Any, rows: dict[str, list[torch.Tensor]], plan: StepPlan, **beside: Any) -> dict[str, float]:
    """Update on all rows as one mini-batch; return the reduced metrics."""
    from verl.utils import tensordict_utils as tu

    count = len(rows["input_ids"])
    whole = {"global_batch_size": count, "mini_batch_size": count, "epochs": 1, PLAN_KEY: plan.to_dict()}
    whole |= {"seed": 0, "temperature": 1.0, "calculate_entropy": True, "pad_mode": "no_padding"}
    whole |= {"dataloader_kwargs": {"shuffle": False}, **beside}
    data = tu.get_tensordict({name: nested(values) for name, values in rows.items()}, whole)
    metrics = tu.get(worker.train_mini_batch(data), "metrics")
    flat = {name: value[0] if isinstance(value, list) else value for name, value in metrics.items()}
    reduced = {name: float(value.aggregate() if hasattr(value, "aggregate") else value) for name, value in flat.items()}
    finish_loss_metrics(reduced)
    return reduced
