"""Makes a failed episode stop the run, with its reason.

veRL 0.9.1's V1 trainer does not: an exception in an agent loop or in a reward function is logged in the worker, its
group gets the status "failure", and then sync mode trains on what is left of the group, padding the rest; async mode
evicts it and asks for another one, for ever; validation counts the samples that came through. A dead retriever or a
reward function with a bug would look like training.

Two pieces close the gap. In the workers, `FailFastAgentLoopManager`'s worker class writes an exception's text into the
prompt's tag in TransferQueue, beside the status. In the trainer's process, `guard_replay_buffer` has the replay buffer
raise `EpisodeError` as soon as it sees a failed prompt. The manager does both, so one key is enough:
`actor_rollout_ref.rollout.agent.agent_loop_manager_class=wapo_verl.agent_loop.fail_fast.FailFastAgentLoopManager`.

Left out: retries of whole episodes. What is worth retrying (a search) is retried where it is made.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import ray
import transfer_queue as tq
from ray.exceptions import RayTaskError
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopManagerTQ, AgentLoopWorkerTQ
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

REASON_TAG = "failure_reason"


class EpisodeError(RuntimeError):
    """An episode could not be played or scored; the message carries the reason."""


def reason_of(error: BaseException) -> str:
    """Kind and text of an exception; of what was raised remotely, where Ray has wrapped it."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    return f"{type(cause).__name__}: {cause}"


class FailFastAgentLoopWorker(AgentLoopWorkerTQ.__ray_metadata__.modified_class):
    """veRL's worker, which also says why an episode failed. (Ray's actor class cannot be subclassed, its class can.)"""

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
        guard_replay_buffer()


def guard_replay_buffer() -> None:
    """Have veRL's replay buffers (sync and async) raise on a failed prompt; calling it again changes nothing."""
    sync = ReplayBuffer._sync_metadata_from_transfer_queue
    if not hasattr(sync, "__wapo_verl_patch__"):
        ReplayBuffer._sync_metadata_from_transfer_queue = raising_on_failures(sync)


def raising_on_failures(sync: Callable[[ReplayBuffer], None]) -> Callable[[ReplayBuffer], None]:
    """Wrap the method that reads the groups' statuses, which every sampling loop of every mode begins with."""

    @functools.wraps(sync)
    def sync_and_check(buffer: ReplayBuffer) -> None:
        sync(buffer)
        for partition, failed in buffer.failure_keys.items():
            if failed:
                raise EpisodeError(_message(partition, failed, tq.kv_list() or {}))

    sync_and_check.__wapo_verl_patch__ = True  # type: ignore[attr-defined]
    return sync_and_check


def _message(partition: str, failed: set[str], tags: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    found = {tags.get(partition, {}).get(uid, {}).get(REASON_TAG) for uid in failed} - {None}
    reasons = sorted(map(str, found)) or ["no reason was recorded, see the agent-loop worker's log"]
    step = "validation" if partition == "val" else "training"
    more = f" (and {len(reasons) - 1} other reasons)" if len(reasons) > 1 else ""
    return f"episodes of {len(failed)} prompt(s) failed in {step}; the run stops here. {reasons[0]}{more}"
