"""One rank of `test_exactness`: each case's updates on the full batch and on the winners, by veRL's training worker."""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from support.engine_settings import engine_config, model_config, wapo_actor
from torch.distributed.tensor import DTensor
from verl.trainer.config import CheckpointConfig
from verl.utils import tensordict_utils as tu
from verl.workers.config import FSDPOptimizerConfig
from verl.workers.engine_workers import TrainingWorker, TrainingWorkerConfig
from verl.workers.utils.losses import ppo_loss

from wapo_verl.algorithms import ALGORITHMS
from wapo_verl.engine.step_plan import PLAN_KEY, StepPlan
from wapo_verl.rollout.failures import FAILURE
from wapo_verl.training.advantages import Rows, advantages
from wapo_verl.training.row_selection import balanced, members, mini_batches, update_orders

PROMPT, GROUP, STEPS = 5, 4, 2
LENGTHS = (7, 3, 9, 5, 6, 8, 2, 4, 5, 5, 9, 3, 6, 2, 7, 8)
SPREAD = (1.0, 0.0, 0.0, 0.5, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.3, 1.0, 0.2, 0.9, 0.0)
SEQUENCE_LENGTH = 32


@dataclass(frozen=True)
class Case:
    """A batch's rewards and how it is cut up."""

    name: str
    mini_batch: int = 16
    micro_batch: int | None = 4
    rewards: tuple[float, ...] = SPREAD
    failed: tuple[int, ...] = ()  # rows of episodes that failed
    epochs: int = 1
    lora: bool = False
    winners_kl: bool = False  # a KL loss to a reference, on tokens with an advantage alone
    only_first: bool = False  # the other mini-batches have no winner, so the full batch is the first one's rows


ONE_WINNER = (1.0, *[0.0] * 15)
ONE_GROUP = (*SPREAD[:4], *[0.5] * 12)
ALL_BUT_ONE = tuple(0.0 if row % GROUP == 0 else 1.0 for row in range(16))

CASES = (
    Case("one mini-batch, fixed micro-batches"),
    Case("two mini-batches, fixed micro-batches", mini_batch=8),
    Case("two mini-batches, packed by tokens", mini_batch=8, micro_batch=None),
    Case("two epochs of two mini-batches", mini_batch=8, epochs=2),
    Case("one winner", rewards=ONE_WINNER),
    Case("all but one win in every group", rewards=ALL_BUT_ONE, mini_batch=8),
    Case("a mini-batch without a winner", rewards=ONE_GROUP, mini_batch=8, only_first=True),
    Case("LoRA", mini_batch=8, lora=True),
    Case("a KL loss on winners", mini_batch=8, winners_kl=True),
    Case("failed members, a winner among them", mini_batch=8, failed=(5, 6, 9)),
)


def nested(rows: Iterable[torch.Tensor]) -> torch.Tensor:
    return torch.nested.as_nested_tensor(list(rows), layout=torch.jagged)


def make_batch(vocabulary: int, case: Case) -> tuple[dict[str, list[torch.Tensor]], list[bool]]:
    """Make the whole batch row by row, and tell which rows have an advantage."""
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(5, vocabulary, (PROMPT,), generator=generator) for _ in LENGTHS]
    responses = [torch.randint(5, vocabulary, (length,), generator=generator) for length in LENGTHS]
    masks = [(torch.rand(length, generator=generator) > 0.2).long() for length in LENGTHS]
    old = [-torch.rand(length, generator=generator) - 5.0 for length in LENGTHS]
    masks = [mask * (row not in case.failed) for row, mask in enumerate(masks)]
    found, own = ALGORITHMS["wapo"], torch.nn.utils.rnn.pad_sequence(masks, batch_first=True)
    keys = [f"{row // GROUP}_{row % GROUP}_0" for row in range(len(LENGTHS))]
    tags = [{FAILURE: "retriever"} if row in case.failed else {} for row in range(len(LENGTHS))]
    stored = Rows(keys, tags, torch.tensor(case.rewards))
    values, _ = advantages(stored, own, [False] * len(keys), found, found.default_options(), with_losers=False)
    rows = values.float()
    return {
        "prompts": prompts,
        "responses": responses,
        "input_ids": [torch.cat(pair) for pair in zip(prompts, responses, strict=True)],
        "position_ids": [torch.arange(PROMPT + length) for length in LENGTHS],
        "response_mask": masks,
        "loss_mask": masks,
        "old_log_probs": old,
        "ref_log_prob": [values - 0.5 for values in old],
        "advantages": [row * mask for row, mask in zip(rows, masks, strict=True)],
    }, (rows != 0).tolist()


def make_worker(model: str, case: Case) -> TrainingWorker:
    actor = wapo_actor(
        SEQUENCE_LENGTH,
        rollout_n=GROUP,
        ppo_mini_batch_size=case.mini_batch,
        ppo_micro_batch_size_per_gpu=case.micro_batch or 4,
        use_kl_loss=case.winners_kl,
        kl_loss_coef=1.0,
    )
    lora: dict[str, Any] = {"lora_rank": 4, "lora_alpha": 8, "target_modules": "all-linear"} if case.lora else {}
    worker = TrainingWorker(
        TrainingWorkerConfig(
            model_type="language_model",
            model_config=model_config(model, **lora),
            engine_config=engine_config(
                use_dynamic_bsz=case.micro_batch is None,
                max_token_len_per_gpu=32,
                micro_batch_size_per_gpu=case.micro_batch,
            ),
            optimizer_config=FSDPOptimizerConfig(
                lr=1e-3,
                total_training_steps=10,
                lr_warmup_steps=4,
                # With 1e-8 Adam turns the rounding of a gradient that is nearly zero into a step.
                override_optimizer_config={"eps": 1e-6},
            ),
            checkpoint_config=CheckpointConfig(),
        )
    )
    torch.manual_seed(0)  # LoRA's own start
    worker.reset()
    worker.set_loss_fn(partial(ppo_loss, config=actor))
    return worker


def update(worker: TrainingWorker, whole: dict[str, list[torch.Tensor]], rows: tuple[int, ...], beside: dict) -> float:
    """Have this rank's share of the rows trained on; return the learning rate that was logged."""
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    own = rows[rank * len(rows) // ranks : (rank + 1) * len(rows) // ranks]
    data = tu.get_tensordict(
        {name: nested(values[row] for row in own) for name, values in whole.items()},
        {"seed": 0, "temperature": 1.0, "calculate_entropy": True, "pad_mode": "no_padding", **beside},
    )
    return float(tu.get(worker.train_mini_batch(data), "metrics")["lr"][-1])


def trained_weights(worker: TrainingWorker) -> dict[str, torch.Tensor]:
    return {
        name: (weights.full_tensor() if isinstance(weights, DTensor) else weights).detach().clone()
        for name, weights in worker.engine.module.named_parameters()
        if weights.requires_grad
    }


def train(model: str, case: Case, winners: bool) -> dict[str, Any]:
    """Train `STEPS` steps: the weights before and after, the learning rate, and how many rows were computed on."""
    worker = make_worker(model, case)
    start, ranks = trained_weights(worker), torch.distributed.get_world_size()
    whole, carries = make_batch(worker.model_config.hf_config.vocab_size, case)
    computed, rate = 0, 0.0
    for _ in range(STEPS):
        plan = StepPlan(winners_kl=case.winners_kl).to_dict()
        if winners:
            parts = mini_batches(
                carries,
                [PROMPT + length for length in LENGTHS],
                ranks,
                case.mini_batch,
                case.micro_batch,
                balanced,
            )
            orders = list(update_orders(parts, case.mini_batch, case.epochs, plan))
        else:
            beside = {"global_batch_size": case.mini_batch, "mini_batch_size": case.mini_batch, PLAN_KEY: plan}
            rows = members(len(LENGTHS), ranks, case.mini_batch)[0] if case.only_first else range(len(LENGTHS))
            orders = [(tuple(rows), {**beside, "epochs": case.epochs, "dataloader_kwargs": {"shuffle": False}})]
        for rows, beside in orders:
            rate = update(worker, whole, rows, beside)
            computed += len(rows) * beside["epochs"]
    return {"start": start, "weights": trained_weights(worker), "rate": rate, "rows": computed}


def largest_gap(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def main(model: str, out: str) -> None:
    found = {}
    for case in CASES:
        full, ours = train(model, case, winners=False), train(model, case, winners=True)
        found[case.name] = {
            "difference": largest_gap(full["weights"], ours["weights"]),
            "moved": largest_gap(full["weights"], full["start"]),
            "rates": [full["rate"], ours["rate"]],
            "rows": [full["rows"], ours["rows"]],
        }
    if torch.distributed.get_rank() == 0:
        Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
