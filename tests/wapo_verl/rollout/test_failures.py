"""Failed episodes that the budget has room for come back as rows. No Ray: queue, loop and reward are scripted."""

import asyncio
from typing import Any

import pytest
import transfer_queue as tq
from omegaconf import OmegaConf
from ray.exceptions import RayTaskError
from support.scripted_engine import make_tokenizer
from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput

from retrieval_index import RetrievalError
from wapo_verl.environments.episode import Episode
from wapo_verl.environments.failures import REASONS
from wapo_verl.rollout.fail_fast import REASON_TAG, FailFastAgentLoopWorker
from wapo_verl.rollout.failures import FAILURE, MESSAGE, FailureBudget
from wapo_verl.rollout.trajectory import PromptTooLong

EVERY = FailureBudget(share=0.5, reasons=list(REASONS), undecided=True)
LENGTH = 6


class Rows:
    """Stands in for TransferQueue: keeps each key's fields and its tag."""

    def __init__(self) -> None:
        self.fields: dict[str, dict[str, Any]] = {}
        self.tags: dict[str, dict[str, Any]] = {}

    async def async_kv_batch_put(self, keys: list[str], partition_id: str, tags: list, fields: Any = None) -> None:
        for place, key in enumerate(keys):
            self.tags.setdefault(f"{partition_id}/{key}", {}).update(tags[place])
            if fields is not None:
                row = fields[place]
                self.fields[key] = {name: row[name] for name in row.keys()}  # noqa: SIM118 (a TensorDict)

    async def async_kv_put(self, key: str, partition_id: str, tag: dict[str, Any]) -> None:
        self.tags.setdefault(f"{partition_id}/{key}", {}).update(tag)


class Loop:
    """An agent loop that writes three tokens, two of its own, or raises."""

    error: Exception | None = None

    async def run(self, sampling_params: dict[str, Any], **_: Any) -> AgentLoopOutput:
        if self.error is not None:
            raise self.error
        return AgentLoopOutput(
            prompt_ids=[7, 8],
            response_ids=[9, 10, 11],
            response_mask=[1, 0, 1],
            response_logprobs=[-1.0, 0.0, -1.0],
            num_turns=2,
            metrics=AgentLoopMetrics(),
            extra_fields={"episode": Episode("x").to_record(), "turn_scores": [], "tool_rewards": []},
        )


class Reward:
    """A reward worker's handle, which answers this or raises it."""

    def __init__(self, answer: dict[str, float] | Exception) -> None:
        self.answer, self.compute_score = answer, self
        self.asked = 0

    async def remote(self, data: Any) -> dict[str, Any]:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise RayTaskError("compute_score", "a long traceback", self.answer).as_instanceof_cause()
        return {"reward_score": self.answer["score"], "reward_extra_info": dict(self.answer)}


async def settled(episode: Any) -> list[Any]:
    return await asyncio.gather(episode, return_exceptions=True)


def played(
    monkeypatch: pytest.MonkeyPatch,
    error: Exception | None = None,
    answer: dict[str, float] | Exception | None = None,
    budget: FailureBudget = EVERY,
    data_source: str = "math500",
) -> tuple[Rows, Exception | None]:
    """Play one episode of a prompt through veRL's own worker, with a loop and a reward that may fail."""
    queue, tokenizer = Rows(), make_tokenizer()
    for name in ("async_kv_batch_put", "async_kv_put"):
        monkeypatch.setattr(tq, name, getattr(queue, name))
    monkeypatch.setattr("hydra.utils.instantiate", lambda **_: loop)
    loop, worker = Loop(), object.__new__(FailFastAgentLoopWorker)
    loop.error = error
    worker.budget, worker.tokenizer, worker.processor, worker.tools = budget, tokenizer, None, []
    worker.hf_model_type = worker.dataset_cls = worker.llm_client = None
    worker.config = OmegaConf.create({"data": {"apply_chat_template_kwargs": {}}})
    worker.rollout_config = OmegaConf.create({"prompt_length": LENGTH, "calculate_log_probs": True})
    worker.distillation_enabled, worker.mm_processor_kwargs = False, {}
    worker.reward_loop_worker_handles = [Reward({"score": 1.0} if answer is None else answer)]
    row = {
        "uid": "u",
        "session_id": 3,
        "raw_prompt": [{"role": "user", "content": "What?"}],
        "data_source": data_source,
        "global_steps": 5,
        "agent_name": "single_turn_agent",
        "trace": False,
    }
    trajectory = {"step": 1, "sample_index": 0, "rollout_n": 0, "validate": False}
    (raised,) = asyncio.run(settled(worker._run_agent_loop({}, trajectory, **row)))
    return queue, raised


def test_a_sound_episode_is_a_row_without_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    queue, raised = played(monkeypatch)
    assert raised is None
    assert FAILURE not in queue.tags["train/u_3_0"]
    assert queue.fields["u_3_0"]["response_mask"].tolist() == [1, 0, 1]
    assert queue.fields["u_3_0"]["rm_scores"].tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RetrievalError("no index at world"), "retriever"),
        (PromptTooLong("a prompt has 9 tokens"), "context"),
        (ValueError("the request was aborted"), "generation"),
    ],
)
def test_an_episode_that_was_not_played_is_a_row_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    """It has every field of a sound row, the prompt cut to what fits, no token to train on, and no reward."""
    sound, _ = played(monkeypatch)
    queue, raised = played(monkeypatch, error=error)
    assert raised is None
    row, tag = queue.fields["u_3_0"], queue.tags["train/u_3_0"]
    message = f"{type(error).__name__}: {error}"
    assert (tag["status"], tag[FAILURE], tag[MESSAGE]) == ("success", reason, message)
    assert set(row) == set(sound.fields["u_3_0"])
    assert {name: value for name, value in tag.items() if name.endswith("_len")} == {
        "prompt_len": LENGTH,
        "response_len": 1,
        "seq_len": LENGTH + 1,
    }
    assert row["response_mask"].tolist() == row["loss_mask"].tolist() == [0]
    assert row["rm_scores"].isnan().all()
    extra = row["extra_fields"]
    assert (extra["episode"]["outcome"], extra["episode"]["failure"]) == ("failed", reason)
    assert extra["reward_extra_info"] == {FAILURE: reason, MESSAGE: message}
    assert Episode.from_record(extra["episode"]).answer is None


def test_an_episode_whose_verifier_raised_keeps_its_text_and_trains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    queue, raised = played(monkeypatch, answer=KeyError("answers"))
    assert raised is None
    row, tag = queue.fields["u_3_0"], queue.tags["train/u_3_0"]
    assert (tag[FAILURE], tag[MESSAGE]) == ("verifier", "KeyError: 'answers'")
    assert row["responses"].tolist() == [9, 10, 11]
    assert row["response_mask"].tolist() == [0, 0, 0]
    assert row["rm_scores"].isnan().any()
    assert (row["extra_fields"]["episode"]["outcome"], row["extra_fields"]["episode"]["failure"]) == (
        "answered",
        "verifier",
    )


def test_a_verdict_that_is_none_is_a_failure_and_no_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = {"score": 0.0, "correct": 0.0, "timed_out": 1.0}
    queue, _ = played(monkeypatch, answer=verdict)
    assert queue.tags["train/u_3_0"][FAILURE] == "timed_out"
    queue, _ = played(monkeypatch, answer={"score": 0.0, "correct": 0.0, "unparsed": 1.0})
    assert FAILURE not in queue.tags["train/u_3_0"], "an answer nobody can read is the policy's own doing"
    queue, _ = played(monkeypatch, answer=verdict, budget=FailureBudget())
    assert FAILURE not in queue.tags["train/u_3_0"]


@pytest.mark.parametrize("budget", [FailureBudget(), FailureBudget(share=0.01, reasons=["retriever"], undecided=True)])
def test_what_the_budget_has_no_room_for_still_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, budget: FailureBudget
) -> None:
    for given in ({"error": ValueError("aborted")}, {"answer": ValueError("aborted")}):
        queue, raised = played(monkeypatch, budget=budget, **given)
        assert isinstance(raised, ValueError)
        assert queue.tags["train/u"] == {REASON_TAG: "ValueError: aborted"}
        assert not queue.fields
