"""Which completions are asked for, and when. No Ray, no GPU: TransferQueue and episodes are replaced, workers real."""

import asyncio
from typing import Any

import pytest
import transfer_queue as tq
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ

from wapo_verl.rollout.fail_fast import REASON_TAG, FailFastAgentLoopWorker
from wapo_verl.rollout.settled_groups import ProbedGroup
from wapo_verl.training.sampling_settings import SAVED_TAG, SettledGroups

VERL_WORKER = AgentLoopWorkerTQ.__ray_metadata__.modified_class
UIDS = st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0, None]), min_size=2, max_size=6), min_size=1, max_size=4)


class Output:
    """What is read of an agent loop's output."""

    reward_score: float | None = None


class Worker(FailFastAgentLoopWorker):
    """The worker, whose episodes only take turns of the event loop and then have the reward that is given.

    `rewards[uid][session]`: a number, None where nobody scores, or an exception to raise.
    """

    def __init__(self, rewards: dict[str, list[Any]], settings: SettledGroups | None) -> None:
        self.rewards, self.settled_groups, self._groups = rewards, settings, {}
        self.config = OmegaConf.create({"actor_rollout_ref": {"rollout": {"n": 4, "val_kwargs": {"n": 4}}}})
        self.asked: list[tuple[str, int]] = []
        self.over: list[tuple[str, int]] = []

    async def play(self, uid: str, session_id: int) -> None:
        self.asked.append((uid, session_id))
        for _ in range(session_id + 1):
            await asyncio.sleep(0)
        reward = self.rewards[uid][session_id]
        if isinstance(reward, Exception):
            raise reward
        output = Output()
        output.reward_score = reward
        await self._compute_score([output], kwargs={"uid": uid, "session_id": session_id})
        self.over.append((uid, session_id))


@pytest.fixture(scope="module")
def puts() -> Any:
    """What the workers write into TransferQueue: (key, tag)."""
    written: list[tuple[str, dict[str, Any]]] = []

    async def put(key: str, partition_id: str, tag: dict[str, Any]) -> None:
        written.append((key, tag))

    async def play(self: Any, sampling_params: Any, trajectory: Any, **sample: Any) -> None:
        await self.play(sample["uid"], sample["session_id"])

    async def score(self: Any, outputs: Any, kwargs: Any) -> None:
        """The output has its reward already."""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tq, "async_kv_put", put)
        patch.setattr(VERL_WORKER, "_run_agent_loop", play)
        patch.setattr(VERL_WORKER, "_compute_score", score)
        yield written


def run(worker: Worker, *uids: str, validate: bool = False, n: int | None = None) -> None:
    more = {} if n is None else {"__rollout_n__": n}

    async def prompts() -> None:
        trajectory = {"validate": validate}
        await asyncio.gather(*(worker._run_prompt({"uid": uid, **more}, {}, trajectory) for uid in uids))

    asyncio.run(prompts())


def statuses(puts: list[tuple[str, dict[str, Any]]]) -> dict[str, str]:
    return {key: tag["status"] for key, tag in puts if "status" in tag}


def test_a_settled_group_is_not_asked_for_more(puts: Any) -> None:
    puts.clear()
    worker = Worker({"a": [1.0] * 4}, SettledGroups(probe=2))
    run(worker, "a")
    assert worker.asked == [("a", 0), ("a", 1)]
    assert puts == [
        ("a", {"status": "running"}),
        ("a_1_0", {SAVED_TAG: 2}),  # beside the row of the session that was over last
        ("a", {"status": "finished"}),
    ]
    assert worker._groups == {}


def test_a_miss_in_the_probe_has_the_rest_asked_for(puts: Any) -> None:
    puts.clear()
    worker = Worker({"a": [1.0, 0.0, 1.0, 1.0]}, SettledGroups(probe=2))
    run(worker, "a")
    assert worker.asked == [("a", session) for session in range(4)]
    assert worker.over.index(("a", 1)) < worker.over.index(("a", 2))
    assert not [tag for _, tag in puts if SAVED_TAG in tag]
    assert statuses(puts) == {"a": "finished"}


def test_groups_do_not_wait_for_each_other(puts: Any) -> None:
    """The second group's rest has begun and ended before the first group's probe is over."""
    worker = Worker({"slow": [1.0] * 20, "quick": [0.0] * 4}, SettledGroups(probe=2))
    worker.rewards["slow"] = [0.0] * 4
    slow = worker.play

    async def play(uid: str, session_id: int) -> None:
        if uid == "slow":
            while ("quick", 3) not in worker.over:
                await asyncio.sleep(0)
        await slow(uid, session_id)

    worker.play = play  # type: ignore[method-assign]
    run(worker, "slow", "quick")
    assert worker.over.index(("quick", 3)) < worker.over.index(("slow", 0))
    assert len(worker.over) == 8


def test_a_probe_that_fails_settles_nothing_and_leaves_nobody_waiting(puts: Any) -> None:
    puts.clear()
    worker = Worker({"a": [1.0, ValueError("no index"), 1.0, 1.0]}, SettledGroups(probe=2))
    run(worker, "a")
    assert statuses(puts) == {"a": "failure"}
    assert ("a", {REASON_TAG: "ValueError: no index"}) in puts
    assert len(worker.asked) == 4


def test_a_failure_after_the_score_settles_nothing() -> None:
    """Its row is not there, so the group must not be taken for whole."""
    group = ProbedGroup(SettledGroups(probe=1), completions=2)
    group.score(0, 1.0)
    assert not group.finish(0, failed=True)


@pytest.mark.parametrize(
    ("rewards", "settled"),
    [
        ([1.0, 1.0], True),
        ([0.1 + 0.2 + 0.7, 1.0], True),  # sums of parts: 0.9999999999999999
        ([1.0, 0.999], False),
        ([1.2, 1.0], False),  # both right, and one of them wins
        ([1.2, 1.2], True),
        ([1.0, None], False),
    ],
)
def test_a_group_is_settled_where_all_are_right_and_equal(rewards: list[float | None], settled: bool) -> None:
    group = ProbedGroup(SettledGroups(probe=2), completions=3)
    for session, reward in enumerate(rewards):
        group.score(session, reward)
        last = group.finish(session)
    assert group.settled is last is settled


def test_validation_is_sampled_whole(puts: Any) -> None:
    puts.clear()
    worker = Worker({"a": [1.0] * 4}, SettledGroups(probe=2))
    run(worker, "a", validate=True)
    assert len(worker.asked) == 4
    assert not [tag for _, tag in puts if SAVED_TAG in tag]


def test_without_the_setting_the_worker_is_verls(puts: Any) -> None:
    worker = Worker({"a": [1.0] * 4}, None)
    run(worker, "a")
    assert len(worker.asked) == 4


def test_a_prompt_with_no_more_completions_than_the_probe_is_never_settled(puts: Any) -> None:
    puts.clear()
    worker = Worker({"a": [1.0] * 4}, SettledGroups(probe=2))
    run(worker, "a", n=2)
    assert len(worker.asked) == 2
    assert not [tag for _, tag in puts if SAVED_TAG in tag]


@given(UIDS, st.integers(1, 5))
def test_every_group_is_asked_for_its_probe_or_whole(puts: Any, groups: list[list[float | None]], probe: int) -> None:
    """Whatever the rewards and however many groups: nobody waits for ever, and all that is saved is marked."""
    puts.clear()
    rewards = {str(number): group for number, group in enumerate(groups)}
    n = min(map(len, groups))
    worker = Worker(rewards, SettledGroups(probe=probe))
    run(worker, *rewards, n=n)
    saved = {key.split("_")[0]: tag[SAVED_TAG] for key, tag in puts if SAVED_TAG in tag}
    for uid, group in rewards.items():
        asked = sorted(session for asked, session in worker.asked if asked == uid)
        settled = probe < n and group[:probe] == [1.0] * probe
        assert asked == list(range(probe if settled else n))
        assert saved.get(uid, 0) == (n - probe if settled else 0)
    assert statuses(puts) == dict.fromkeys(rewards, "finished")
    assert worker._groups == {}
