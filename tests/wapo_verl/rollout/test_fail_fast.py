"""A failed episode stops the run with its reason. No Ray: TransferQueue is replaced, veRL's classes are real."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import transfer_queue as tq
from omegaconf import OmegaConf
from ray.exceptions import RayTaskError
from verl.experimental.agent_loop.agent_loop import _agent_loop_registry
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync

from retrieval_index import RetrievalError
from wapo_verl.rollout.fail_fast import (
    REASON_TAG,
    TOOL_AGENT,
    EpisodeError,
    FailFastAgentLoopWorker,
    message_of,
    play_tool_agent_by_the_template,
    write_context_length,
)
from wapo_verl.rollout.failures import FAILURE, FailureBudget
from wapo_verl.rollout.trajectory import room_for_response
from wapo_verl.training.failures import LEDGER

SYNC = "_sync_metadata_from_transfer_queue"


def tags(status: str, **more: str) -> dict[str, Any]:
    return {"is_prompt": True, "status": status, "global_steps": 1, **more}


def make_buffer(kind: type[ReplayBuffer]) -> ReplayBuffer:
    return kind(
        trainer_mode="sync" if kind is ReplayBuffer else "separate_async",
        trainer_config=OmegaConf.create({}),
        max_off_policy_threshold=None,
        max_off_policy_strategy="drop",
        sampler_kwargs=OmegaConf.create({}),
        refill_fn=lambda count: count,
        train_batch_size=2,
        gen_batch_size=2,
    )


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """What TransferQueue would list."""
    data: dict[str, dict[str, Any]] = {}
    monkeypatch.setattr(tq, "kv_list", lambda: data)
    monkeypatch.setattr(tq, "kv_clear", lambda **_: None)
    return data


@pytest.mark.parametrize("kind", [ReplayBuffer, ReplayBufferAsync])
@pytest.mark.parametrize(("partition", "step"), [("train", "training"), ("val", "validation")])
def test_sampling_raises_with_the_reason(stored: dict, kind: type[ReplayBuffer], partition: str, step: str) -> None:
    stored[partition] = {
        "a": tags("finished"),
        "a_0_0": {"status": "success"},
        "b": tags("failure", **{REASON_TAG: "RetrievalError: no index at world"}),
    }
    with pytest.raises(EpisodeError, match=rf"1 prompt\(s\) failed in {step}.*RetrievalError: no index at world"):
        make_buffer(kind).sample(global_steps=1, partition_id=partition, batch_size=2)


def test_without_a_recorded_reason_verl_trains_on_what_is_left(stored: dict) -> None:
    """Why the reason is recorded; if this fails, veRL has changed and the patch may go."""
    stored["train"] = {"a": tags("finished"), "a_0_0": {"status": "success"}, "b": tags("failure")}
    batch, _ = make_buffer(ReplayBuffer).sample(global_steps=1, partition_id="train", batch_size=2)
    assert batch.keys == ["a_0_0"]


def test_a_step_without_failures_is_sampled_as_ever(stored: dict) -> None:
    stored["train"] = {"a": tags("finished"), "a_0_0": {"status": "success"}}
    batch, _ = make_buffer(ReplayBuffer).sample(global_steps=1, partition_id="train", batch_size=1)
    assert batch.keys == ["a_0_0"]


def test_the_worker_records_the_reason_and_verl_still_sees_the_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    puts: list[dict[str, Any]] = []

    async def put(**call: Any) -> None:
        puts.append(call)

    async def fail(self: Any, *_: Any, **__: Any) -> None:
        raise RetrievalError("no index at world")

    monkeypatch.setattr(tq, "async_kv_put", put)
    monkeypatch.setattr(AgentLoopWorkerTQ.__ray_metadata__.modified_class, "_run_agent_loop", fail)
    worker = object.__new__(FailFastAgentLoopWorker)
    worker.budget = FailureBudget()
    worker.config = OmegaConf.create({"actor_rollout_ref": {"rollout": {"n": 2}}})
    prompt = {"uid": "u", "raw_prompt": [], "agent_name": "search_agent"}
    asyncio.run(worker._run_prompt(prompt, {}, trajectory={"validate": False}))
    assert [call["tag"] for call in puts] == [
        {"status": "running"},
        {REASON_TAG: "RetrievalError: no index at world"},
        {REASON_TAG: "RetrievalError: no index at world"},
        {"status": "failure"},
    ]
    assert {(call["key"], call["partition_id"]) for call in puts} == {("u", "train")}


def test_a_remote_reason_comes_without_rays_wrapping() -> None:
    wrapped = RayTaskError("compute_score", "a long traceback", ValueError("reward weight 'x'"))
    wrap: Callable[[], Any] = wrapped.as_instanceof_cause
    assert message_of(wrap()) == message_of(wrapped) == "ValueError: reward weight 'x'"


def test_the_seam_is_where_it_was() -> None:
    assert getattr(ReplayBufferAsync, SYNC) is getattr(ReplayBuffer, SYNC)


def test_a_run_of_ours_plays_tool_agent_by_the_template_and_keeps_a_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    verls = {"_target_": "verl.experimental.agent_loop.tool_agent_loop.ToolAgentLoop"}
    monkeypatch.setitem(_agent_loop_registry, TOOL_AGENT, verls)
    play_tool_agent_by_the_template()
    assert _agent_loop_registry[TOOL_AGENT] == {"_target_": "wapo_verl.rollout.tool_agent.TemplateToolAgentLoop"}
    monkeypatch.setitem(_agent_loop_registry, TOOL_AGENT, {"_target_": "users.own.Loop"})
    play_tool_agent_by_the_template()
    assert _agent_loop_registry[TOOL_AGENT] == {"_target_": "users.own.Loop"}


def test_the_replay_buffer_shows_the_ledger_what_is_over(stored: dict) -> None:
    buffer, seen = make_buffer(ReplayBuffer), []
    buffer.wapo_failures = SimpleNamespace(look=lambda rows, over: seen.append((dict(rows["train"]), over["train"])))
    stored["train"] = {"a": tags("finished"), "a_0_0": {"status": "success", FAILURE: "retriever"}}
    buffer.sample(global_steps=1, partition_id="train", batch_size=1)
    assert seen == [({"a_0_0": {"status": "success", FAILURE: "retriever"}}, {"a"})]
    assert LEDGER == "wapo_failures"


def test_episodes_know_the_models_length_where_the_run_names_none() -> None:
    """The engine takes the model's positions then; an episode that did not know would be refused its next turn."""
    model = SimpleNamespace(max_position_embeddings=2048)
    rollout = OmegaConf.create({"max_model_len": None, "prompt_length": 512, "response_length": 8192})
    OmegaConf.set_struct(rollout, True)
    write_context_length(rollout, model)
    assert room_for_response(100, rollout) == 2048 - 100
    rollout.max_model_len = 1024
    write_context_length(rollout, model)
    assert room_for_response(100, rollout) == 1024 - 100
