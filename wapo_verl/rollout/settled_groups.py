"""Asks for a few completions of each prompt first, and for the rest only where those leave something to win.

The first `probe` sessions of a group run at once; the others wait for them. When the last of the probe is scored and
all of it is right, the others return without a completion, so the group really is shorter; else they start at that
moment. Each group decides for itself while the others go on: waiting sessions are coroutines that hold nothing.

Left out: validation, which is sampled whole; what a short group means to the estimate (`docs/sampling.md`).
"""

import asyncio
import math
from typing import Any

import transfer_queue as tq
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ

from wapo_verl.training.sampling_settings import SAVED_TAG, SettledGroups, settled_groups

ROUNDING = 3e-7
"""Rewards no further apart than this, relatively, are equal: they are sums of parts, kept in float32."""


class ProbedGroup:
    """One prompt's completions: sessions 0 to `probe` - 1 run first, the others wait for what they show."""

    def __init__(self, settings: SettledGroups, completions: int) -> None:
        """Take the run's settings, and how many completions the prompt is to have."""
        self.probe = min(settings.probe, completions)
        self.completions = completions
        self._right = settings.reward
        self._rewards: dict[int, float] = {}
        self._running = self.probe
        self._over = asyncio.Event()

    def is_probe(self, session: int) -> bool:
        """Tell whether a session is among those that run first."""
        return session < self.probe

    def score(self, session: int, reward: float | None) -> None:
        """Note a session's reward; None, where there is no reward, leaves its completion unknown."""
        if reward is not None:
            self._rewards[session] = reward

    def finish(self, session: int, failed: bool = False) -> bool:
        """Note that a session of the probe is over; return whether this has settled the group."""
        if failed:
            self._rewards.pop(session, None)
        self._running -= 1
        if self._running:
            return False
        self._over.set()
        return self.settled

    @property
    def settled(self) -> bool:
        """Whether the probe is over, all right and all equal, and stands for completions that can be left out.

        Right ones that differ (a reward above the one that is right) would leave a winner, so they settle nothing.
        """
        rewards = list(self._rewards.values())
        return (
            self._over.is_set()
            and self.probe < self.completions
            and len(rewards) == self.probe
            and all(reward >= self._right or _equal(reward, self._right) for reward in rewards)
            and all(_equal(reward, rewards[0]) for reward in rewards)
        )

    async def wait(self) -> bool:
        """Wait for the probe's end, and return whether it has settled the group."""
        await self._over.wait()
        return self.settled


def _equal(reward: float, other: float) -> bool:
    return math.isclose(reward, other, rel_tol=ROUNDING)


class SettlingAgentLoopWorker(AgentLoopWorkerTQ.__ray_metadata__.modified_class):
    """veRL's worker, which stops settled groups of the training partition where `wapo.settled_groups` is set.

    (Ray's actor class cannot be subclassed, its class can.)
    """

    settled_groups: SettledGroups | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.settled_groups = settled_groups(self.config)
        self._groups: dict[str, ProbedGroup] = {}

    async def _run_prompt(self, prompt: dict, sampling_params: dict, trajectory: dict, trace: bool = False) -> None:
        if self.settled_groups is None or trajectory["validate"]:
            await super()._run_prompt(prompt, sampling_params, trajectory, trace)
            return
        uid = prompt["uid"]
        completions = prompt.get("__rollout_n__", self.config.actor_rollout_ref.rollout.n)  # as veRL counts them
        self._groups[uid] = ProbedGroup(self.settled_groups, completions)
        try:
            await super()._run_prompt(prompt, sampling_params, trajectory, trace)
        finally:
            del self._groups[uid]

    async def _run_agent_loop(self, sampling_params: dict[str, Any], trajectory: dict[str, Any], **kwargs: Any) -> Any:
        group = self._probed(trajectory, kwargs)
        if group is None:
            return await super()._run_agent_loop(sampling_params, trajectory, **kwargs)
        if not group.is_probe(kwargs["session_id"]):
            if await group.wait():
                return None
            return await super()._run_agent_loop(sampling_params, trajectory, **kwargs)
        try:
            output = await super()._run_agent_loop(sampling_params, trajectory, **kwargs)
        except BaseException:
            group.finish(kwargs["session_id"], failed=True)
            raise
        if group.finish(kwargs["session_id"]):
            await self._mark_settled(group, kwargs)
        return output

    def _probed(self, trajectory: dict[str, Any], sample: dict[str, Any]) -> ProbedGroup | None:
        if self.settled_groups is None or trajectory["validate"]:
            return None
        return self._groups[sample["uid"]]

    async def _compute_score(self, outputs: list[Any], kwargs: dict) -> None:
        await super()._compute_score(outputs, kwargs)
        group = None if self.settled_groups is None else self._groups.get(kwargs["uid"])
        if group is not None:
            group.score(kwargs["session_id"], outputs[-1].reward_score)

    async def _mark_settled(self, group: ProbedGroup, sample: dict[str, Any]) -> None:
        """Write how many completions are left out beside a row of the group, for the trainer to count.

        It is there before the prompt's status says that the group is finished, since veRL waits for this session first.
        """
        await tq.async_kv_put(
            key=f"{sample['uid']}_{sample['session_id']}_0",
            partition_id="train",
            tag={SAVED_TAG: group.completions - group.probe},
        )
