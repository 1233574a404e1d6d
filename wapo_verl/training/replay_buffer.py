"""veRL's replay buffers, with an end to a step that finds nothing but all-equal groups.

veRL 0.9.1's V1 replay buffer throws all-equal groups away (`algorithm.filter_groups`) and asks for new prompts until a
batch is together, however long that takes; it ignores `max_num_gen_batches`. Here that key means what it says: a step
ends with an error where that many batches of prompts did not hold one batch of groups whose rewards differ.

Which groups are thrown away, and how others are asked for, stays veRL's; only that an episode that failed is no member
of its group.
"""

from collections import Counter
from typing import Any

from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync

from wapo_verl.training.advantages import is_failed
from wapo_verl.training.failures import session_of, uid_of

FILTER = "algorithm.filter_groups"
LIMIT = f"{FILTER}.max_num_gen_batches"

Reasons = tuple[set[str], set[str], set[str], Any]


class FilterError(RuntimeError):
    """A step's groups are all-equal, batch after batch; the message names the key and what to do."""


class _Bounded(ReplayBuffer):
    """What is added to either of veRL's replay buffers."""

    batches: int  # of prompts, in which one batch must be found
    _wanted = 0  # groups that are being waited for
    _thrown = 0  # groups thrown away meanwhile, for being all-equal

    def _begin(self, wanted: int) -> None:
        self._wanted, self._thrown = wanted, 0

    def _dapo_filtered_keys(self, partition_id: str) -> tuple[set[str], Counter]:
        """Find the all-equal groups as veRL does, among the members that did not fail.

        A group with fewer than two of them trains nothing either.
        """
        rows, finished = self.partitions[partition_id], self.finished_keys[partition_id]
        sound = {key: tag for key, tag in rows.items() if not is_failed(tag)}
        if len(sound) == len(rows):
            return super()._dapo_filtered_keys(partition_id)
        hurt = {uid_of(key) for key in rows.keys() - sound.keys()} & finished
        members = Counter(uid_of(key) for key in {session_of(key) for key in sound})
        thin = {uid for uid in hurt if members[uid] < 2}
        self.partitions[partition_id], self.finished_keys[partition_id] = sound, finished - thin
        try:
            equal, rewards = super()._dapo_filtered_keys(partition_id)
        finally:
            self.partitions[partition_id], self.finished_keys[partition_id] = rows, finished
        return equal | thin, rewards

    def _evict_terminal_groups(
        self, global_steps: int, partition_id: str, eviction_reasons: Reasons
    ) -> tuple[set[str], int, int, dict]:
        """Throw groups away as veRL does, and count them.

        Raises:
            FilterError: where more than `batches` - 1 batches of all-equal groups went before one batch was together.
        """
        found = super()._evict_terminal_groups(global_steps, partition_id, eviction_reasons)
        evicted, stale, equal, metrics = found
        self._thrown += equal
        together = len(self._sampleable_terminal_keys(partition_id, eviction_reasons))
        if equal and together < self._wanted and self._thrown > (self.batches - 1) * self._wanted:
            raise FilterError(_message(self.batches, self._thrown, together, self._wanted))
        return evicted, stale, equal, metrics


class BoundedReplayBuffer(_Bounded, ReplayBuffer):
    """Sync mode's."""

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[KVBatchMeta, dict]:
        """Sample as veRL does, within the limit."""
        self._begin(batch_size)
        return super().sample(global_steps, partition_id, batch_size)


class BoundedReplayBufferAsync(_Bounded, ReplayBufferAsync):
    """The asynchronous modes', which wait for groups in one place."""

    def wait_for_sampleable(self, global_steps: int, partition_id: str, target_count: int) -> tuple[set[str], dict]:
        """Wait as veRL does, within the limit."""
        self._begin(target_count)
        return super().wait_for_sampleable(global_steps, partition_id, target_count)


def bounded(built: ReplayBuffer, batches: int) -> ReplayBuffer:
    """Return veRL's replay buffer with the limit; a user's own (`custom_sampler`) as it is.

    Args:
        built: as veRL's trainer built it, not used yet.
        batches: `algorithm.filter_groups.max_num_gen_batches`, at least 1.
    """
    kinds = {ReplayBuffer: BoundedReplayBuffer, ReplayBufferAsync: BoundedReplayBufferAsync}
    kind = kinds.get(type(built))
    if kind is None:
        return built
    made = object.__new__(kind)
    made.__dict__ |= {**vars(built), "batches": batches}
    return made


def _message(batches: int, thrown: int, together: int, wanted: int) -> str:
    return (
        f"{LIMIT}={batches}: {thrown} groups whose rewards were all equal were thrown away in one step and only "
        f"{together} of {wanted} groups are left, so the step ends here; give the policy questions that it answers "
        f"sometimes, raise the limit, or set {FILTER}.enable=False"
    )
