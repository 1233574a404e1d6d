"""One rank of `test_two_ranks`: veRL's training worker, one WAPO update on its share of a fixed batch."""

import json
import sys
from functools import partial
from pathlib import Path

import torch
from verl.trainer.config import CheckpointConfig
from verl.utils import tensordict_utils as tu
from verl.workers.config import (
    FSDPActorConfig,
    FSDPEngineConfig,
    FSDPOptimizerConfig,
    HFModelConfig,
    PolicyLossConfig,
)
from verl.workers.engine_workers import TrainingWorker, TrainingWorkerConfig
from verl.workers.utils.losses import ppo_loss

from wapo_verl.algorithms import Batch, algorithm, finish_loss_metrics

PROMPT, ROWS, GROUP = 5, 8, 4
LENGTHS = (7, 3, 9, 5, 6, 8, 2, 4)
REWARDS = (1.0, 0.0, 0.0, 0.5, 0.0, 1.0, 0.0, 0.0)
SEQUENCE_LENGTH = 32


def nested(rows: list[torch.Tensor]) -> torch.Tensor:
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


def make_batch(vocabulary: int) -> dict[str, torch.Tensor]:
    """Make the whole batch, in the nested layout of veRL's V1 trainer."""
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(5, vocabulary, (PROMPT,), generator=generator) for _ in range(ROWS)]
    responses = [torch.randint(5, vocabulary, (length,), generator=generator) for length in LENGTHS]
    masks = [(torch.rand(length, generator=generator) > 0.2).long() for length in LENGTHS]
    old = [-torch.rand(length, generator=generator) - 5.0 for length in LENGTHS]
    groups = torch.arange(ROWS) // GROUP
    found = algorithm("wapo")
    assert found is not None
    rows = found.advantages(Batch(torch.tensor(REWARDS), groups), found.default_options()).rows.float()
    return {
        "prompts": nested(prompts),
        "responses": nested(responses),
        "input_ids": nested([torch.cat(pair) for pair in zip(prompts, responses, strict=True)]),
        "position_ids": nested([torch.arange(PROMPT + length) for length in LENGTHS]),
        "response_mask": nested(masks),
        "loss_mask": nested(masks),
        "old_log_probs": nested(old),
        "advantages": nested([row * mask for row, mask in zip(rows, masks, strict=True)]),
    }


def main(model: str, out: str, micro_batch: int) -> None:
    actor = FSDPActorConfig(
        strategy="fsdp2",
        rollout_n=GROUP,
        ppo_mini_batch_size=ROWS,
        ppo_micro_batch_size_per_gpu=micro_batch,
        clip_ratio_high=9.0,
        loss_agg_mode="seq-mean-token-sum-norm",
        loss_scale_factor=SEQUENCE_LENGTH,
        calculate_entropy=True,
        policy_loss=PolicyLossConfig(loss_mode="wapo"),
    )
    precision = {"param_dtype": "fp32", "reduce_dtype": "fp32", "buffer_dtype": "fp32"}
    worker = TrainingWorker(
        TrainingWorkerConfig(
            model_type="language_model",
            model_config=HFModelConfig(
                path=model,
                use_remove_padding=False,
                enable_gradient_checkpointing=False,
                override_config={"attn_implementation": "sdpa"},
            ),
            engine_config=FSDPEngineConfig(
                strategy="fsdp2",
                dtype="float32",
                model_dtype="float32",
                mixed_precision=precision,
                use_torch_compile=False,
                use_dynamic_bsz=False,
                micro_batch_size_per_gpu=micro_batch,
            ),
            optimizer_config=FSDPOptimizerConfig(lr=1e-3, total_training_steps=10),
            checkpoint_config=CheckpointConfig(),
        )
    )
    worker.reset()
    worker.set_loss_fn(partial(ppo_loss, config=actor))
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    share = slice(rank * ROWS // ranks, (rank + 1) * ROWS // ranks)
    whole = make_batch(worker.model_config.hf_config.vocab_size)
    data = tu.get_tensordict(
        {name: nested(list(tensor.unbind())[share]) for name, tensor in whole.items()},
        {
            "global_batch_size": ROWS,
            "mini_batch_size": ROWS,
            "epochs": 1,
            "seed": 0,
            "dataloader_kwargs": {"shuffle": False},
            "temperature": 1.0,
            "calculate_entropy": True,
            "pad_mode": "no_padding",
        },
    )
    metrics = tu.get(worker.train_mini_batch(data), "metrics")
    weights = {name: parameter.detach().clone() for name, parameter in worker.engine.get_per_tensor_param()[0]}
    if rank == 0:
        flat = {name: value[0] if isinstance(value, list) else value for name, value in metrics.items()}
        reduced = {name: float(getattr(value, "aggregate", lambda v=value: v)()) for name, value in flat.items()}
        finish_loss_metrics(reduced)
        numbers = {name.removeprefix("actor/").removeprefix("wapo/"): value for name, value in reduced.items()}
        torch.save(weights, Path(out).with_suffix(".pt"))
        Path(out).with_suffix(".json").write_text(json.dumps(numbers))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
