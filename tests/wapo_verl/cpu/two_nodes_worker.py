"""One process trains on the batches that two nodes have sampled, every row of them, by veRL's training worker.

Run as a script: MODEL, the folder of `skip.rollout_tq`, the number of steps, and the file for the weights.
"""

import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import torch
from support.engine_settings import engine_config, model_config, wapo_actor
from torch.distributed.tensor import DTensor
from verl.trainer.config import CheckpointConfig
from verl.utils import tensordict_utils as tu
from verl.workers.config import FSDPOptimizerConfig
from verl.workers.engine_workers import TrainingWorker, TrainingWorkerConfig
from verl.workers.utils.losses import ppo_loss

from examples.quickstart.settings import QuickstartSettings
from wapo_verl.algorithms import ALGORITHMS, Batch
from wapo_verl.engine.step_plan import PLAN_KEY, StepPlan

TASK = QuickstartSettings()
ROWS = TASK.prompts_per_step * TASK.group_size
LENGTH = TASK.max_prompt_tokens + TASK.max_response_tokens


def nested(rows: Iterable[torch.Tensor]) -> torch.Tensor:
    return torch.nested.as_nested_tensor(list(rows), layout=torch.jagged)


def make_worker(model: str, steps: int) -> TrainingWorker:
    actor = wapo_actor(LENGTH, rollout_n=TASK.group_size, ppo_mini_batch_size=ROWS, ppo_micro_batch_size_per_gpu=ROWS)
    worker = TrainingWorker(
        TrainingWorkerConfig(
            model_type="language_model",
            model_config=model_config(model),
            engine_config=engine_config(
                use_dynamic_bsz=False, max_token_len_per_gpu=ROWS * LENGTH, micro_batch_size_per_gpu=ROWS
            ),
            optimizer_config=FSDPOptimizerConfig(
                lr=TASK.learning_rate, total_training_steps=steps, lr_warmup_steps=TASK.warm_up_steps
            ),
            checkpoint_config=CheckpointConfig(),
        )
    )
    worker.reset()
    worker.set_loss_fn(partial(ppo_loss, config=actor))
    return worker


def train(worker: TrainingWorker, batch: Path) -> None:
    """Make one update on every row of a batch."""
    stored = torch.load(batch, weights_only=False)
    rows = {name: [row.clone() for row in stored["tensordict"][name].unbind()] for name in FIELDS}
    masks = rows["response_mask"]
    completions = Batch.from_keys(
        stored["keys"],
        torch.stack([scores.sum() for scores in rows.pop("rm_scores")]).double(),
        padding=[False] * len(masks),
        lengths=torch.tensor([int(mask.sum()) for mask in masks]),
    )
    wapo = ALGORITHMS["wapo"]
    advantages = wapo.advantages(completions, wapo.default_options()).rows.float()
    rows |= {
        "position_ids": [torch.arange(len(ids)) for ids in rows["input_ids"]],
        "loss_mask": masks,
        "old_log_probs": rows.pop("rollout_log_probs"),
        "advantages": [advantage * mask for advantage, mask in zip(advantages, masks, strict=True)],
    }
    beside = {
        "seed": 0,
        "temperature": 1.0,
        "calculate_entropy": True,
        "pad_mode": "no_padding",
        "global_batch_size": ROWS,
        "mini_batch_size": ROWS,
        "epochs": 1,
        "dataloader_kwargs": {"shuffle": False},
        PLAN_KEY: StepPlan().to_dict(),
    }
    worker.train_mini_batch(tu.get_tensordict({name: nested(values) for name, values in rows.items()}, beside))


FIELDS = ("prompts", "responses", "input_ids", "response_mask", "rm_scores", "rollout_log_probs")


def main(model: str, sampled: str, steps: str, out: str) -> None:
    worker = make_worker(model, int(steps))
    for step in range(1, int(steps) + 1):
        (batch,) = Path(sampled).glob(f"*/*/{step}/0/tq_batch.pt")
        train(worker, batch)
    weights = {
        name: (values.full_tensor() if isinstance(values, DTensor) else values).detach().clone()
        for name, values in worker.engine.module.named_parameters()
    }
    torch.save(weights, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
