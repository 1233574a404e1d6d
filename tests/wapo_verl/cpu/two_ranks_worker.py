"""One rank of `test_two_ranks`: veRL's training worker, one planned WAPO update on its share of a fixed batch."""

import json
import sys
from functools import partial
from pathlib import Path

import torch
from support.engine_settings import engine_config, model_config, wapo_actor
from verl.trainer.config import CheckpointConfig
from verl.utils import tensordict_utils as tu
from verl.workers.config import FSDPOptimizerConfig
from verl.workers.engine_workers import TrainingWorker, TrainingWorkerConfig
from verl.workers.utils.losses import ppo_loss

from wapo_verl.algorithms import ALGORITHMS, Batch
from wapo_verl.engine.loss_metrics import finish_loss_metrics
from wapo_verl.engine.step_plan import PLAN_KEY, StepPlan

PROMPT, ROWS, GROUP = 5, 8, 4
LENGTHS = (7, 3, 9, 5, 6, 8, 2, 4)
REWARDS = (1.0, 0.0, 0.0, 0.5, 0.0, 1.0, 0.0, 0.0)
SEQUENCE_LENGTH = 32
PLAN = StepPlan(
    taxonomy=True,
    weights={"pos_peak": 1.0, "pos_valley": 0.0, "neg_peak": 0.25, "neg_valley": 0.5},
)


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
    found = ALGORITHMS["wapo"]
    made = found.advantages(Batch(torch.tensor(REWARDS), groups), found.default_options())
    assert made.loser_rows is not None
    rows = (made.rows + made.loser_rows).float()
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
    actor = wapo_actor(
        SEQUENCE_LENGTH, rollout_n=GROUP, ppo_mini_batch_size=ROWS, ppo_micro_batch_size_per_gpu=micro_batch
    )
    worker = TrainingWorker(
        TrainingWorkerConfig(
            model_type="language_model",
            model_config=model_config(model),
            engine_config=engine_config(use_dynamic_bsz=False, micro_batch_size_per_gpu=micro_batch),
            # Plain SGD: Adam's first step turns the rounding of a gradient near zero into a whole step.
            optimizer_config=FSDPOptimizerConfig(
                optimizer="SGD", lr=1e-1, weight_decay=0.0, clip_grad=1e9, total_training_steps=10
            ),
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
            PLAN_KEY: PLAN.to_dict(),
        },
    )
    metrics = tu.get(worker.train_mini_batch(data), "metrics")
    weights = {name: parameter.detach().clone() for name, parameter in worker.engine.get_per_tensor_param()[0]}
    if rank == 0:
        flat = {name: value[0] if isinstance(value, list) else value for name, value in metrics.items()}
        reduced = {name: float(getattr(value, "aggregate", lambda v=value: v)()) for name, value in flat.items()}
        finish_loss_metrics(reduced)
        numbers = {name.removeprefix("actor/"): value for name, value in reduced.items()}
        torch.save(weights, Path(out).with_suffix(".pt"))
        Path(out).with_suffix(".json").write_text(json.dumps(numbers))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
