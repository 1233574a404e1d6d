"""The bytes of an update: each layer's against what autograd saves, the sum against a process that was measured."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from support.paths import ROOT
from transformers import AutoConfig, AutoModelForCausalLM

from wapo_verl.estimate.duration import DEVICES, GIB, step_time
from wapo_verl.estimate.memory import Job, layer_activations, resident, rollout_memory, trainer_memory
from wapo_verl.estimate.models import KNOWN, Shape
from wapo_verl.estimate.report import problems

TOKENS = 128
JOB = Job(
    shape=KNOWN["Qwen/Qwen2.5-1.5B"],
    devices=1,
    shards=1,
    master=4,
    compute=2,
    lora_rank=0,
    checkpointing=True,
    tokens=4096,
    packed=True,
    entropy=True,
    compiled=True,
    fused=False,
    offload_weights=False,
    offload_optimizer=False,
    completions=256,
    prompt=512,
    response=2048,
    extra_forwards=0,
    tensor_parallel=1,
    rollout=2,
    max_sequences=256,
    utilization=0.4,
    frees_cache=True,
)


def saved_bytes(shape: Shape, dtype: torch.dtype) -> int:
    """What autograd saves in a forward pass, weights aside, by storage."""
    config = AutoConfig.for_model(
        shape.kind,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        head_dim=shape.head,
        intermediate_size=shape.intermediate,
        vocab_size=shape.vocabulary,
        pad_token_id=0,
        attn_implementation="sdpa",
    )
    model = AutoModelForCausalLM.from_config(config).to(dtype).train()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.zeros(1, TOKENS, dtype=torch.long), use_cache=False)
    return sum(saved.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_a_layers_activations_are_what_autograd_saves(kind: str, dtype: torch.dtype) -> None:
    """Beside them are a few numbers a token and head: the norms' scales and attention's log-sum-exp."""
    shape = Shape(kind, 256, 1, 4, 2, 64, 640, 32, tied=True)
    one, two = (saved_bytes(replace(shape, layers=layers), dtype) for layers in (1, 2))
    computed = TOKENS * layer_activations(shape, dtype.itemsize)
    assert computed < two - one < 1.01 * computed


@pytest.mark.slow
@pytest.mark.parametrize("settings", [[], ["--checkpointing", "--lora-rank=8"]], ids=["all weights", "LoRA"])
def test_a_real_update_takes_what_was_computed(settings: list[str]) -> None:
    """FSDP2 on the CPU in float32, by the process's own peak; the rest is libraries and the allocator."""
    command = [sys.executable, "-m", "benchmarks.update_memory", *settings]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    computed, measured = (float(number) for number in done.stdout.split()[-2:])
    assert abs(computed / measured - 1) < 0.15


def test_an_update_by_hand() -> None:
    memory = trainer_memory(JOB)
    weights = 1_543_714_304
    assert (memory.weights, memory.gradients, memory.moments) == (4 * weights, 4 * weights, 8 * weights)
    assert memory.logits == 4096 * 151_936 * 2 * 2  # the logits and their gradient
    assert memory.activations == 4096 * (28 * 1536 * 2 + layer_activations(JOB.shape, 2) + 1536 * 8)


def test_more_devices_share_what_is_kept() -> None:
    one, eight = (trainer_memory(replace(JOB, devices=n, shards=n)) for n in (1, 8))
    assert eight.weights == one.weights // 8
    assert eight.moments == one.moments // 8
    assert eight.logits == one.logits


def test_lora_keeps_all_weights_in_float32_and_trains_few() -> None:
    memory = trainer_memory(replace(JOB, lora_rank=8))
    assert memory.weights > trainer_memory(JOB).weights
    assert memory.moments < 0.02 * memory.weights


def test_offloading_leaves_the_device_to_the_rollout() -> None:
    away = replace(JOB, offload_weights=True, offload_optimizer=True)
    assert resident(away, trainer_memory(away)) == 0
    assert resident(JOB, trainer_memory(JOB)) == 16 * JOB.shape.weights


def test_the_rollouts_cache_by_hand() -> None:
    engine = rollout_memory(JOB, 80 * GIB)
    assert engine.token == 2 * 28 * 256 * 2
    assert engine.cache == 32 * GIB - 2 * JOB.shape.weights
    assert engine.sequences == 256
    assert rollout_memory(replace(JOB, utilization=0.05), 80 * GIB).sequences == 16


def test_what_does_not_fit_is_said_with_its_fix() -> None:
    assert problems(JOB, DEVICES["h100"]) == []
    (update, together) = problems(JOB, DEVICES["rtx4090"])
    assert "an update needs" in update
    assert "optimizer_offload" in together
    (cache,) = problems(replace(JOB, utilization=0.01), DEVICES["h100"])
    assert "no sequence of 2560 tokens" in cache


def test_time_by_hand() -> None:
    time = step_time(replace(JOB, checkpointing=False), DEVICES["h100"])
    tokens, multiplied = 256 * 2560, JOB.shape.multiplied_weights
    assert time.update == pytest.approx(tokens * 6 * (multiplied + 28 * 1536 * 2560) / (989e12 * 0.35))
    cached = 2 * 28 * 256 * 2 * 256 * (512 + 1024)
    assert time.rollout == pytest.approx(2048 * (2 * JOB.shape.weights + cached) / (3350e9 * 0.6))
