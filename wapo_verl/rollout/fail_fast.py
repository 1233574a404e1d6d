"""Makes a failed episode stop the run, with its reason.

veRL 0.9.1's V1 trainer does not: an exception in an agent loop or in a reward function is logged in the worker, its
group gets the status "failure", and then sync mode trains on what is left of the group, padding the rest; async mode
evicts it and asks for another one, for ever; validation counts the samples that came through. A dead retriever or a
reward function with a bug would look like training.

Two pieces close the gap. In the workers, `FailFastAgentLoopManager`'s worker class writes an exception's text into the
prompt's tag in TransferQueue, beside the status. In the trainer's process a patch (`wapo_verl.verl_plugin.patches`),
applied when this module is imported, has the replay buffer call `raise_recorded_failures`. Where veRL's own manager
runs, this module is not imported and nothing changes.

Episodes are not played again: what is worth another attempt (a search) gets it where it is made.
"""

from collections.abc import Mapping
from typing import Any

import ray
import transfer_queue as tq
from ray.exceptions import RayTaskError
from verl.experimental.agent_loop.agent_loop import _agent_loop_registry
from verl.experimental.agent_loop.tool_agent_loop import ToolAgentLoop
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopManagerTQ, AgentLoopWorkerTQ

from wapo_verl.rollout.tool_agent import TemplateToolAgentLoop

TOOL_AGENT = "tool_agent"
REASON_TAG = "failure_reason"


class EpisodeError(RuntimeError):
    """An episode could not be played or scored; the message carries the reason."""


def reason_of(error: BaseException) -> str:
    """Kind and text of an exception; of what was raised remotely, where Ray has wrapped it."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    return f"{type(cause).__name__}: {cause}"


def play_tool_agent_by_the_template() -> None:
    """Have this process play `tool_agent` rows with our class; a user's own loop of that name stays."""
    if _agent_loop_registry[TOOL_AGENT]["_target_"] == _target(ToolAgentLoop):
        _agent_loop_registry[TOOL_AGENT] = {"_target_": _target(TemplateToolAgentLoop)}


def _target(loop: type) -> str:
    return f"{loop.__module__}.{loop.__qualname__}"


class FailFastAgentLoopWorker(AgentLoopWorkerTQ.__ray_metadata__.modified_class):
    """veRL's worker, which also says why an episode failed, and plays `tool_agent` by the chat template's rules.

    (Ray's actor class cannot be subclassed, its class can.)
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        play_tool_agent_by_the_template()

    async def _run_agent_loop(self, sampling_params: dict[str, Any], trajectory: dict[str, Any], **kwargs: Any) -> Any:
        try:
            return await super()._run_agent_loop(sampling_params, trajectory, **kwargs)
        except Exception as error:
            await tq.async_kv_put(
                key=kwargs["uid"],
                partition_id="val" if trajectory["validate"] else "train",
                tag={REASON_TAG: reason_of(error)},
            )
            raise


class FailFastAgentLoopManager(AgentLoopManagerTQ):
    """veRL's manager with `FailFastAgentLoopWorker` as its worker; it lives in the trainer's process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.agent_loop_workers_class = ray.remote(FailFastAgentLoopWorker)


def raise_recorded_failures(failed: Mapping[str, set[str]]) -> None:
    """Raise EpisodeError where a failed prompt has a recorded reason.

    Args:
        failed: partition ("train" or "val") -> the uids of its failed prompts.
    """
    tags = tq.kv_list() or {}
    for partition, uids in failed.items():
        found = {tags.get(partition, {}).get(uid, {}).get(REASON_TAG) for uid in uids} - {None}
        if found:
            raise EpisodeError(_message(partition, len(uids), sorted(map(str, found))))


def _message(partition: str, prompts: int, reasons: list[str]) -> str:
    step = "validation" if partition == "val" else "training"
    more = f" (and {len(reasons) - 1} other reasons)" if len(reasons) > 1 else ""
    return f"episodes of {prompts} prompt(s) failed in {step}; the run stops here. {reasons[0]}{more}"
