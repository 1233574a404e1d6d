"""What the trainer does with the group filter's keys. No Ray, no GPU: TransferQueue is replaced."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer
from verl.trainer.ppo.v1.trainer_base import PPOTrainer

from wapo_verl.training.decisions import Decisions
from wapo_verl.training.replay_buffer import BoundedReplayBuffer
from wapo_verl.training.trainer import WapoTrainerSync


def make_trainer(**filter_groups: Any) -> WapoTrainerSync:
    made = object.__new__(WapoTrainerSync)
    made.config = OmegaConf.create(
        {
            "data": {"train_batch_size": 4, "gen_batch_size": None},
            "algorithm": {
                "filter_groups": {
                    "enable": False,
                    "metric": "reward",
                    "max_num_gen_batches": 3,
                    "max_inflight_gen_batches": 1,
                    **filter_groups,
                }
            },
            "reward": {"reward_model": {"enable": False, "enable_resource_pool": False}},
            "trainer": {
                "critic_warmup": 0,
                "v1": {
                    "sync": {},
                    "sampler": {
                        "max_off_policy_threshold": None,
                        "max_off_policy_strategy": "drop",
                        "sampler_kwargs": {},
                    },
                },
            },
            "actor_rollout_ref": {"rollout": {"n": 8, "response_length": 4}, "actor": {"ppo_mini_batch_size": 2}},
        }
    )
    OmegaConf.set_struct(made.config, True)
    made._obey(Decisions(filter_batches=3 if filter_groups.get("enable") else None))
    made.use_critic, made.trainer_mode, made.global_steps = False, "sync", 1
    return made


def test_the_filter_has_an_end_under_this_trainer(caplog: pytest.LogCaptureFixture) -> None:
    """veRL warns that it ignores the limit, which here is not so; the setting itself stays."""
    made = make_trainer(enable=True)
    buffer = made._build_replay_buffer()
    assert isinstance(buffer, BoundedReplayBuffer)
    assert (buffer.batches, buffer.filter_groups_metric, buffer.train_batch_size) == (3, "reward", 4)
    assert made.config.algorithm.filter_groups.max_num_gen_batches == 3
    assert "is ignored" not in caplog.text
    assert buffer.poll_interval < 1


def test_without_the_filter_the_buffer_is_verls() -> None:
    assert type(make_trainer()._build_replay_buffer()) is ReplayBuffer


def test_padding_is_in_no_metric_of_verls(monkeypatch: pytest.MonkeyPatch) -> None:
    """veRL counts padding rows' tokens in its throughput and times a token."""
    seen: list[list[str]] = []
    one = torch.nested.as_nested_tensor([torch.tensor([5])], layout=torch.jagged)
    stored = {"extra_fields": [{}], "responses": one, "response_mask": one}
    stored |= {"rm_scores": one.float(), "old_log_probs": one.float()}
    monkeypatch.setattr(PPOTrainer, "_compute_metrics", lambda self, batch, *_, **__: seen.append(batch.keys))
    monkeypatch.setattr("wapo_verl.training.stored.tq", SimpleNamespace(kv_batch_get=lambda **_: stored))
    made = make_trainer()
    batch = KVBatchMeta(partition_id="train", keys=["a_0_0", "pad_0_0"], tags=[{}, {"is_padding": True}])
    made._compute_metrics(batch, {}, {}, global_steps=1, epoch=0)
    assert seen == [["a_0_0"]]
