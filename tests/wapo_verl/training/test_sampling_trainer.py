"""What the trainer does with short groups and the group filter's keys. No Ray, no GPU: TransferQueue is replaced."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer
from verl.trainer.ppo.v1.trainer_base import PPOTrainer

from wapo_verl.training.replay_buffer import BoundedReplayBuffer
from wapo_verl.training.sampling_settings import SAVED_TAG, SettledGroups
from wapo_verl.training.sampling_trainer import sampling_metrics
from wapo_verl.training.trainer import StableTrainerSync


def make_trainer(settled: SettledGroups | None = None, **filter_groups: Any) -> StableTrainerSync:
    made = object.__new__(StableTrainerSync)
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
            "actor_rollout_ref": {"rollout": {"n": 8}, "actor": {"ppo_mini_batch_size": 2}},
        }
    )
    OmegaConf.set_struct(made.config, True)
    made.settled_groups, made.use_critic, made.trainer_mode, made.global_steps = settled, False, "sync", 1
    return made


@pytest.mark.parametrize(
    ("settled", "rows", "multiple"),
    [
        (None, 20, 16),  # veRL's own: whole mini-batches
        (SettledGroups(4), 20, 32),  # the configured batch: as many mini-batches as ever
        (SettledGroups(4), 40, 16),  # an agent loop with several outputs a session: more rows than completions
    ],
)
def test_a_batch_is_filled_up_to_the_configured_one(settled: SettledGroups | None, rows: int, multiple: int) -> None:
    made = make_trainer(settled)
    made._sampled_rows = rows
    assert made._get_required_batch_multiple(dp_size=2) == multiple


def test_the_rows_that_were_sampled_are_what_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are noted before veRL pads, and the multiple is asked for after."""
    seen: list[int] = []

    def balance(self: PPOTrainer, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        seen.append(self._get_required_batch_multiple(1))
        return batch

    monkeypatch.setattr(PPOTrainer, "_balance_batch", balance)
    made = make_trainer()
    made.winners_only = False
    batch = KVBatchMeta(partition_id="train", keys=["a_0_0"], tags=[{}])
    assert made._balance_batch(batch, {}) is batch
    assert (seen, made._sampled_rows) == ([16], 1)


def test_the_trainer_reads_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PPOTrainer, "__init__", lambda self, config: setattr(self, "config", config))
    wapo = {"winners_only": False, "settled_groups": {"probe": 3, "reward": 2}}
    config = {"trainer": {"v1": {"trainer_mode": "wapo_sync"}}, "algorithm": {"adv_estimator": "wapo"}, "wapo": wapo}
    assert StableTrainerSync(OmegaConf.create(config)).settled_groups == SettledGroups(probe=3, reward=2.0)


def test_metrics_say_what_was_sampled() -> None:
    """Group a was settled by its probe of two, group b is whole; b's first completion has two outputs."""
    keys = ["a_0_0", "a_1_0", "b_0_0", "b_0_1", "b_1_0", "b_2_0", "b_3_0"]
    tags: list[dict[str, Any]] = [{}, {SAVED_TAG: 2}, {}, {}, {}, {}, {}]
    assert sampling_metrics(keys, tags, [1.0, 1.0, 0.3, 0.0, 1.0, 0.0, 0.0], probe=2) == {
        "sampling/groups_settled": 1.0,
        "sampling/completions_saved": 2.0,
        "sampling/completions": 6.0,
        "sampling/probe_reward/mean": 0.75,  # 1, 1, 0 and 1; the last output's reward counts
    }


@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=6), st.integers(1, 3))
def test_what_was_sampled_and_what_was_saved_make_the_whole(groups: list[list[bool]], probe: int) -> None:
    keys: list[str] = []
    tags: list[dict[str, Any]] = []
    rewards: list[float] = []
    for number, group in enumerate(groups):
        settled = all(group[:probe])
        left = group[:probe] if settled else group
        keys += [f"u{number}_{session}_0" for session in range(len(left))]
        tags += [{} for _ in left[1:]] + [{SAVED_TAG: 4 - probe} if settled else {}]
        rewards += [float(right) for right in left]
    metrics = sampling_metrics(keys, tags, rewards, probe)
    assert metrics["sampling/completions"] + metrics["sampling/completions_saved"] == 4 * len(groups)
    first = [right for group in groups for right in group[:probe]]
    assert metrics["sampling/probe_reward/mean"] == pytest.approx(sum(first) / len(first))


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


def test_a_filter_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match=r"max_num_gen_batches=0 is no limit"):
        make_trainer(enable=True, max_num_gen_batches=0)._build_replay_buffer()


def test_padding_is_in_no_metric_of_verls(monkeypatch: pytest.MonkeyPatch) -> None:
    """veRL counts padding rows' tokens in its throughput and times a token; with short groups they are many."""
    seen: list[list[str]] = []
    one = torch.nested.as_nested_tensor([torch.tensor([5])], layout=torch.jagged)
    stored = {"extra_fields": [{}], "responses": one, "response_mask": one}
    monkeypatch.setattr(PPOTrainer, "_compute_metrics", lambda self, batch, *_, **__: seen.append(batch.keys))
    monkeypatch.setattr("wapo_verl.training.trainer.tq", SimpleNamespace(kv_batch_get=lambda **_: stored))
    made = make_trainer()
    made.planner = SimpleNamespace(taxonomy=False)
    batch = KVBatchMeta(partition_id="train", keys=["a_0_0", "pad_0_0"], tags=[{}, {"is_padding": True}])
    made._compute_metrics(batch, {}, {}, global_steps=1, epoch=0)
    assert seen == [["a_0_0"]]
