"""What sampling that wastes less changes in veRL's V1 trainer: a batch with short groups, and the group filter's end.

A settled group has the completions of its probe and no more. veRL fills a batch up to whole mini-batches with padding
rows, which belong to nobody; here it fills up to the configured batch, so that a step has as many mini-batches, and
divides by as many rows, as it would have with every completion. Left out: stopping groups, which the agent-loop workers
do (`wapo_verl.rollout.settled_groups`).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import transfer_queue as tq
from omegaconf import DictConfig, open_dict
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer
from verl.trainer.ppo.v1.trainer_base import PPOTrainer

from wapo_verl.training.replay_buffer import SAVED, SETTLED, bounded
from wapo_verl.training.sampling_settings import LIMIT, SAVED_TAG, SettledGroups, group_filter, settled_groups


class SamplingTrainer(PPOTrainer):
    """Mixed in before veRL's trainer of a mode, after every class that looks at a batch."""

    settled_groups: SettledGroups | None = None
    _sampled_rows = 0  # rows of the step's batch before padding

    def __init__(self, config: DictConfig) -> None:
        super().__init__(config)
        self.settled_groups = settled_groups(config)

    def _build_replay_buffer(self) -> ReplayBuffer:
        """Build veRL's replay buffer, in which the group filter has an end."""
        built = super()._build_replay_buffer()
        if not group_filter(self.config):
            return built
        return bounded(built, self.config.algorithm.filter_groups.max_num_gen_batches)

    def _resolve_filter_groups_metric(self) -> str | None:
        """Resolve it as veRL does, without its warning that the limit is ignored: here it is not."""
        if not group_filter(self.config):
            return super()._resolve_filter_groups_metric()
        groups = self.config.algorithm.filter_groups
        limit = groups.max_num_gen_batches
        if limit < 1:
            raise ValueError(f"{LIMIT}={limit} is no limit: set a number of batches of at least 1")
        with open_dict(groups):
            groups.max_num_gen_batches = 0
            try:
                return super()._resolve_filter_groups_metric()
            finally:
                groups.max_num_gen_batches = limit

    def _balance_batch(self, batch: KVBatchMeta, metrics: dict, *args: Any, **kwargs: Any) -> KVBatchMeta:
        """Count what was sampled, then pad and deal the rows over the ranks as veRL does."""
        if self.settled_groups is not None:
            data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=["rm_scores"])
            rewards = data["rm_scores"].to_padded_tensor(0.0).sum(dim=-1).tolist()
            for name, value in sampling_metrics(batch.keys, batch.tags, rewards, self.settled_groups.probe).items():
                counted = name in (SETTLED, SAVED)  # the filter may have thrown settled groups away before
                metrics[name] = value + (metrics.get(name, 0.0) if counted else 0.0)
        self._sampled_rows = len(batch.keys)
        return super()._balance_batch(batch, metrics, *args, **kwargs)

    def _get_required_batch_multiple(self, dp_size: int) -> int:
        """Return a number of rows whose multiple a batch has to be: the configured batch, where groups may be short."""
        multiple = super()._get_required_batch_multiple(dp_size)
        if self.settled_groups is None:
            return multiple
        whole = self.config.data.train_batch_size * self.config.actor_rollout_ref.rollout.n
        return multiple if self._sampled_rows > whole else math.lcm(multiple, whole)


def sampling_metrics(
    keys: Sequence[str], tags: Sequence[Mapping[str, Any]], rewards: Sequence[float], probe: int
) -> dict[str, float]:
    """Tell what was sampled for a batch, and what was not.

    Args:
        keys: of the batch's rows, "{uid}_{session}_{output}", padding not among them.
        tags: the rows' tags.
        rewards: each row's reward.
        probe: completions of a prompt that are sampled first.

    Returns:
        `sampling/groups_settled`, `sampling/completions_saved`, `sampling/completions`, and
        `sampling/probe_reward/mean`: the mean reward over every group's probe, which no stopping has chosen.
    """
    last: dict[tuple[str, str], tuple[int, float]] = {}
    for key, reward in zip(keys, rewards, strict=True):
        uid, session, output = key.rsplit("_", 2)
        last[uid, session] = max(last.get((uid, session), (-1, 0.0)), (int(output), reward))
    first = [reward for (_, session), (_, reward) in last.items() if int(session) < probe]
    saved = [tag[SAVED_TAG] for tag in tags if SAVED_TAG in tag]
    return {
        SETTLED: float(len(saved)),
        SAVED: float(sum(saved)),
        "sampling/completions": float(len(last)),
        "sampling/probe_reward/mean": sum(first) / max(len(first), 1),
    }
