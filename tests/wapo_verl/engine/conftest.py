"""A tiny Qwen3 in a real FSDP2 engine, one process over gloo, and micro-batches as veRL's V1 trainer makes them."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from support.engine_settings import engine_config, model_config
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu

Maker = Callable[..., Any]

PROMPTS = (5, 2, 4, 3, 1, 6)
LENGTHS = (7, 3, 1, 5, 6, 4)
ADVANTAGES = (1.0, -0.5, 0.0, 0.25, -1.0, 0.5)


def nested(rows: list[torch.Tensor]) -> torch.Tensor:
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


def batch(vocabulary: int = 30, rows: slice = slice(None), temperature: float | list[float] = 1.0) -> TensorDict:
    """Make six rows of different lengths, some of whose tokens the policy did not write, or a part of them."""
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(5, vocabulary, (length,), generator=generator) for length in PROMPTS]
    responses = [torch.randint(5, vocabulary, (length,), generator=generator) for length in LENGTHS]
    masks = [(torch.rand(length, generator=generator) > 0.2).long() for length in LENGTHS]
    old = [-4.0 * torch.rand(length, generator=generator) for length in LENGTHS]
    rollout = [values + 0.1 * torch.rand(len(values), generator=generator) for values in old]
    ref = [-4.0 * torch.rand(length, generator=generator) for length in LENGTHS]
    fields = {
        "prompts": prompts,
        "responses": responses,
        "input_ids": [torch.cat(pair) for pair in zip(prompts, responses, strict=True)],
        "position_ids": [torch.arange(sum(pair)) for pair in zip(PROMPTS, LENGTHS, strict=True)],
        "response_mask": masks,
        "loss_mask": masks,
        "old_log_probs": old,
        "rollout_log_probs": rollout,
        "ref_log_prob": ref,
        "advantages": [value * mask for value, mask in zip(ADVANTAGES, masks, strict=True)],
    }
    whole = {name: nested(values[rows]) for name, values in fields.items()}
    if isinstance(temperature, list):
        whole["temperature"] = torch.tensor(temperature)[rows]
        temperature = 0.0
    data = tu.get_tensordict(whole, {"pad_mode": "no_padding"})
    tokens = int(sum(mask.sum() for mask in masks))
    tu.assign_non_tensor(data, dp_size=1, batch_num_tokens=tokens, global_batch_size=len(LENGTHS))
    tu.assign_non_tensor(data, use_dynamic_bsz=False, use_fused_kernels=False, use_remove_padding=False)
    if temperature:
        tu.assign_non_tensor(data, temperature=temperature)
    return data


def actor(loss_mode: str = "vanilla", **settings: Any) -> Any:
    from verl.workers.config import FSDPActorConfig, PolicyLossConfig

    from wapo_verl.verl_plugin.algorithms import register_all

    register_all()
    defaults = {"clip_ratio_c": 1e9, "loss_agg_mode": "token-mean", "rollout_n": 2, "ppo_micro_batch_size_per_gpu": 1}
    return FSDPActorConfig(**{**defaults, **settings}, policy_loss=PolicyLossConfig(loss_mode=loss_mode))


@pytest.fixture(scope="session")
def make_batch() -> Maker:
    return batch


@pytest.fixture(scope="session")
def make_loss() -> Maker:
    """Make veRL's loss function as its actor worker does."""
    from verl.workers.utils.losses import ppo_loss

    return lambda loss_mode="vanilla", **settings: partial(ppo_loss, config=actor(loss_mode, **settings))


@pytest.fixture(scope="session")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    store = torch.distributed.FileStore(str(tmp_path_factory.mktemp("store") / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from examples.quickstart.tokenizer import make_tokenizer

    folder = tmp_path_factory.mktemp("model")
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        initializer_range=0.3,
        tie_word_embeddings=True,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_engine(one_process: None, model_folder: Path) -> Maker:
    """Make an initialised engine of a class, with the weights of `model_folder`."""
    from verl.trainer.config import CheckpointConfig
    from verl.workers.config import FSDPOptimizerConfig

    def make(engine: type, warm_up: int = 0, **settings: Any) -> Any:
        made = engine(
            model_config=model_config(str(model_folder)),
            engine_config=engine_config(**settings),
            optimizer_config=FSDPOptimizerConfig(
                lr=1e-2, clip_grad=1e9, total_training_steps=10, lr_warmup_steps=warm_up
            ),
            checkpoint_config=CheckpointConfig(),
        )
        made.model_config.model_type = "language_model"
        made.initialize()
        return made

    return make
