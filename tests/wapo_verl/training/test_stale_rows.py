"""An update of the winners alone is the full batch's in each trainer mode, on rows that several weights have sampled.

A step of this project's trainers, from the sampled batch to the gradient of every row, which veRL's own loss gives in
float64. TransferQueue, rollout and model are replaced; no Ray, no GPU.
"""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.bare_trainer import bare_trainer, replaced_queue, sampled_row
from support.stored_rows import Queue
from support.verl_update import Row, Split, micro_batch_loss
from transfer_queue import KVBatchMeta
from verl.workers.config import FSDPActorConfig, PolicyLossConfig

from wapo_verl.training.trainer import (
    WapoTrainer,
    WapoTrainerColocateAsync,
    WapoTrainerSeparateAsync,
    WapoTrainerSync,
)

GROUPS, GROUP, PROMPT, MINI_BATCH = 4, 4, 2, 2
REWARDS = (1.0, 0.0, 0.0, 0.5, 0.0, 1.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.5, 1.0, 0.2, 0.9, 0.0)
VERSIONS = ((1, 1), (1, 2), (3, 3))
"""The first and the last version of the weights that sampled a row, in turn: old, over an update, and current."""

KEYS = [f"g{group}_{number}_0" for group in range(GROUPS) for number in range(GROUP)]
LENGTHS = [3 + number % 5 for number in range(len(KEYS))]


def drawn(number: int, length: int) -> torch.Tensor:
    return -3 * torch.rand(length, dtype=torch.float64, generator=torch.Generator().manual_seed(number))


def sampled_log_probs(number: int, length: int) -> torch.Tensor:
    """A row's log-probs, each token's under the weights that sampled it: the first half is of the first version."""
    first, last = VERSIONS[number % len(VERSIONS)]
    return torch.cat([drawn(100 * first + number, length // 2), drawn(100 * last + number, length - length // 2)])


class Workers:
    """Give every row that an update is computed on its gradient; the weights stay as they are."""

    def __init__(self, queue: Queue, loss_mode: str) -> None:
        self.queue, self.gradients, self.computed = queue, dict.fromkeys(KEYS, None), []
        self._dispatch_info = {"actor": [0]}
        self.actor = FSDPActorConfig(
            rollout_n=GROUP,
            ppo_micro_batch_size_per_gpu=1,
            clip_ratio_high=1.0,
            loss_agg_mode="seq-mean-token-sum-norm",
            loss_scale_factor=8,
            policy_loss=PolicyLossConfig(loss_mode=loss_mode),
        )

    def update_actor(self, batch: KVBatchMeta) -> dict[str, Any]:
        size, divisor = (batch.extra_info[name] for name in ("mini_batch_size", "global_batch_size"))
        for first in range(0, len(batch.keys), size):
            self._learn(batch.keys[first : first + size], divisor)
        return {"metrics": {"ratio_max": [1.0], "grad_norm": [1.0], "lr": [0.1], "mfu": [0.5]}}

    def _learn(self, keys: list[str], divisor: int) -> None:
        self.computed += keys
        stored = [self.queue.rows[key] for key in keys]
        rows = [Row("", 0, 0, 0, False, tuple(row["response_mask"].tolist()), PROMPT) for row in stored]
        leaves = [drawn(KEYS.index(key), self.queue.rows[key]["tag"]["seq_len"]).requires_grad_() for key in keys]
        old, advantages = ([row[name] for row in stored] for name in ("old_log_probs", "advantages"))
        split = Split(ranks=1, mini_batch=divisor, micro_batches=(len(keys),))
        loss, _ = micro_batch_loss(rows, leaves, old, advantages, self.actor, split, tokens=1)
        loss.backward()
        self.gradients.update({key: leaf.grad for key, leaf in zip(keys, leaves, strict=True)})


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    made = replaced_queue(monkeypatch)
    for number, (key, length) in enumerate(zip(KEYS, LENGTHS, strict=True)):
        first, last = VERSIONS[number % len(VERSIONS)]
        tag = {"seq_len": PROMPT + length, "min_global_steps": first, "max_global_steps": last}
        made.rows[key] = sampled_row(length, REWARDS[number], sampled_log_probs(number, length), **tag)
    return made


def batches(queue: Queue, count: int) -> list[tuple[KVBatchMeta, dict]]:
    size = len(KEYS) // count
    parts = [KEYS[first : first + size] for first in range(0, len(KEYS), size)]
    return [(KVBatchMeta(partition_id="train", keys=k, tags=[queue.rows[key]["tag"] for key in k]), {}) for k in parts]


def make_trainer(kind: type[WapoTrainer], queue: Queue, loss_mode: str, winners_only: bool) -> WapoTrainer:
    actor = {"ppo_mini_batch_size": MINI_BATCH, "ppo_micro_batch_size_per_gpu": 1}
    made = bare_trainer(kind, Workers(queue, loss_mode), winners_only, 4, {"n": GROUP}, actor)
    made.config.data = {"train_batch_size": GROUPS}
    made.hybrid_rollout_config, made._step_sample_wait_seconds = SimpleNamespace(enable_switch=False), 0.0
    made.parameter_sync_step = GROUPS // MINI_BATCH if kind is WapoTrainerSeparateAsync else 1
    sampled = iter(batches(queue, made.parameter_sync_step))
    made.replay_buffer = SimpleNamespace(sample=lambda **_: next(sampled))
    made.prepare_step = lambda: {}
    return made


@pytest.mark.parametrize("loss_mode", ["wapo", "wapo_truncated"])
@pytest.mark.parametrize("kind", [WapoTrainerSync, WapoTrainerColocateAsync, WapoTrainerSeparateAsync])
def test_every_rows_gradient_is_the_full_batchs(kind: type[WapoTrainer], loss_mode: str, queue: Queue) -> None:
    found: dict[bool, tuple[Workers, KVBatchMeta, dict]] = {}
    for winners_only in (False, True):
        made, metrics = make_trainer(kind, queue, loss_mode, winners_only), {}
        for row in queue.rows.values():
            row.pop("old_log_probs", None)
        batch = made.step(metrics, {})
        found[winners_only] = (made.actor_rollout_wg, batch, metrics)
    (full, _, _), (ours, batch, metrics) = found[False], found[True]
    assert sorted(batch.keys) == sorted(KEYS), "what is logged and cleared away is every row"
    assert len(full.computed) == len(KEYS)
    winners = {key for key in KEYS if bool(queue.rows[key]["advantages"].any())}
    assert set(ours.computed) == winners
    assert metrics["actor/trained_rows/count"] == len(winners) / made.parameter_sync_step
    for key in KEYS:
        if key in winners:
            assert bool(ours.gradients[key].any())
            torch.testing.assert_close(ours.gradients[key], full.gradients[key], rtol=1e-12, atol=0.0)
            assert torch.equal(queue.rows[key]["old_log_probs"], queue.rows[key]["rollout_log_probs"])
        else:
            assert not bool(full.gradients[key].any())
            assert "old_log_probs" not in queue.rows[key]
