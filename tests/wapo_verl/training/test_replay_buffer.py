"""veRL's group filter under this project's trainer: what goes, and that a step ends. TransferQueue is replaced."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import transfer_queue as tq
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from tensordict import TensorDict
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync

from wapo_verl.rollout.failures import FAILURE
from wapo_verl.training.replay_buffer import BoundedReplayBuffer, FilterError, bounded

BATCH = 4
KINDS = pytest.mark.parametrize("kind", [ReplayBuffer, ReplayBufferAsync])


class World:
    """Stands in for TransferQueue and the rollout: prompts asked for are finished by the next look, as they come.

    `groups`: each prompt's rewards in the order in which prompts are asked for, the last one for all that follow; None
    for an episode that failed.
    """

    def __init__(self, groups: Sequence[Sequence[float | None]]) -> None:
        self.groups, self.asked = groups, 0
        self.tags: dict[str, dict[str, Any]] = {}
        self.rewards: dict[str, float] = {}
        self.cleared: list[str] = []

    def ask(self, prompts: int) -> int:
        for _ in range(prompts):
            uid, rewards = f"p{self.asked:04}", self.groups[min(self.asked, len(self.groups) - 1)]
            self.asked += 1
            self.tags[uid] = {"is_prompt": True, "status": "finished", "global_steps": 1}
            for session, reward in enumerate(rewards):
                key = f"{uid}_{session}_0"
                self.tags[key], self.rewards[key] = {"status": "success"}, math.nan if reward is None else reward
                if reward is None:
                    self.tags[key][FAILURE] = "retriever"
        assert self.asked < 500, "the step never ends"
        return prompts

    def kv_list(self) -> dict[str, dict[str, dict[str, Any]]]:
        return {"train": dict(self.tags)}

    def kv_clear(self, partition_id: str, keys: list[str]) -> None:
        self.cleared += keys
        for key in keys:
            self.tags.pop(key, None)

    def kv_batch_get(self, keys: list[str], partition_id: str, select_fields: list[str]) -> TensorDict:
        scores = [torch.tensor([0.0, self.rewards[key]]) for key in keys]
        return TensorDict({"rm_scores": torch.stack(scores)}, batch_size=len(keys))


def make(kind: type[ReplayBuffer], world: World, batches: int, patch: pytest.MonkeyPatch) -> ReplayBuffer:
    for name in ("kv_list", "kv_clear", "kv_batch_get"):
        patch.setattr(tq, name, getattr(world, name))
    sync = {"train_batch_size": BATCH, "gen_batch_size": 1} if kind is ReplayBuffer else {}
    built = kind(
        trainer_mode="sync" if kind is ReplayBuffer else "separate_async",
        trainer_config=OmegaConf.create({}),
        max_off_policy_threshold=None,
        max_off_policy_strategy="drop",
        sampler_kwargs=OmegaConf.create({}),
        poll_interval=0.0,
        refill_fn=world.ask,
        filter_groups_metric="reward",
        **sync,
    )
    world.ask(BATCH)
    return bounded(built, batches)


def sample(buffer: ReplayBuffer, partition: str = "train") -> tuple[list[str], dict[str, Any]]:
    batch, metrics = buffer.sample(global_steps=1, partition_id=partition, batch_size=BATCH)
    return sorted(batch.keys), metrics


@KINDS
def test_all_equal_groups_go_and_others_come(kind: type[ReplayBuffer], monkeypatch: pytest.MonkeyPatch) -> None:
    world = World([[1, 1], [1, 0], [0, 0], [0, 1]])
    keys, metrics = sample(make(kind, world, 10, monkeypatch))
    assert len(keys) == 2 * BATCH
    assert not {"p0000_0_0", "p0002_0_0"} & set(keys)
    assert metrics["training/filter_groups/evicted_samples"] == 2


@KINDS
def test_an_episode_that_failed_is_no_member_of_its_group(
    kind: type[ReplayBuffer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal but for a failure, or with one member left: thrown away. Unequal without the failure: kept."""
    world = World([[1, 1, None], [1, None, None], [None, None, None], [0, 0, 0], [1, 0, None]])
    keys, metrics = sample(make(kind, world, 10, monkeypatch))
    assert metrics["training/filter_groups/evicted_samples"] == 4
    assert keys == [f"p{prompt:04}_{session}_0" for prompt in range(4, 8) for session in range(3)]


@KINDS
@pytest.mark.parametrize("batches", [1, 2, 5])
def test_a_step_of_all_equal_groups_ends(
    kind: type[ReplayBuffer], batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World([[1, 1]])
    with pytest.raises(FilterError) as error:
        sample(make(kind, world, batches, monkeypatch))
    assert str(error.value).startswith(f"algorithm.filter_groups.max_num_gen_batches={batches}: ")
    assert f"only 0 of {BATCH} groups are left" in str(error.value)
    assert "set algorithm.filter_groups.enable=False" in str(error.value)
    assert world.asked >= batches * BATCH


@KINDS
def test_verls_own_buffer_never_ends_such_a_step(kind: type[ReplayBuffer], monkeypatch: pytest.MonkeyPatch) -> None:
    """Why there is a limit; if this fails, veRL has changed and the limit may go."""
    world = World([[1, 1]])
    buffer = make(kind, world, 1, monkeypatch)
    plain = object.__new__(kind)
    plain.__dict__ |= vars(buffer)
    with pytest.raises(AssertionError, match="the step never ends"):
        sample(plain)


@KINDS
def test_the_limit_is_a_steps(kind: type[ReplayBuffer], monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the groups go in every step, which three steps of two batches each allow."""
    world = World([[1, 1], [1, 0]] * 200)
    buffer = make(kind, world, 3, monkeypatch)
    for _ in range(6):
        keys, _ = sample(buffer)
        assert len(keys) == 2 * BATCH
        world.ask(BATCH)


def test_a_users_own_buffer_is_left_alone() -> None:
    class Own(ReplayBuffer):
        pass

    own = object.__new__(Own)
    assert bounded(own, 1) is own


@given(st.lists(st.booleans(), min_size=BATCH, max_size=60), st.integers(1, 6))
def test_a_step_ends_with_a_batch_or_an_error(differ: list[bool], batches: int) -> None:
    """Whatever the groups: a whole batch of groups that differ, or an error after more than the limit went.

    Prompts asked for follow one another at once here, so at most two for each group thrown away are there besides.
    """
    world = World([*[[1.0, 0.0] if group else [1.0, 1.0] for group in differ], [1.0, 1.0]])
    with pytest.MonkeyPatch.context() as patch:
        buffer = make(ReplayBuffer, world, batches, patch)
        assert isinstance(buffer, BoundedReplayBuffer)
        try:
            keys, metrics = sample(buffer)
        except FilterError:
            assert buffer._thrown > (batches - 1) * BATCH
            kept = [key for key in world.tags if world.tags[key].get("is_prompt")]
            assert len(kept) < BATCH
        else:
            assert len(keys) == 2 * BATCH
            assert all(differ[int(key[1:5])] for key in keys)
            assert metrics.get("training/filter_groups/evicted_samples", 0) == buffer._thrown
