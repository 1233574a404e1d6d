"""veRL's V1 trainers, with the step an algorithm of this project needs.

`wapo_sync`, `wapo_colocate_async` and `wapo_separate_async` are veRL's trainer modes of the same name; the settings
resolution picks them for the algorithms of this project (`+wapo.trainer=false` keeps veRL's own). They differ in this:

- advantages come from the algorithm itself, which sees sessions and padding, not rows alone;
- a batch in which nobody has an advantage (WAPO: no winner) takes no step: no gradient, no optimizer moments, no count;
- each step's plan goes to the engine with the batch (`wapo_verl.engine.step_plan`), and comes back as metrics of the
  update;
- episodes' outcomes and reward parts are metrics, and the training dump keeps them;
- veRL's group filter has an end (`wapo_verl.training.group_filter`);
- a guard watches for a collapse where `+wapo.guard.action` asks for one (`wapo_verl.stability`);
- finished episodes are noticed within `POLL_SECONDS`, where veRL looks every two seconds (not in `separate_async`).

Updates leave out the rows without an advantage where nothing else gives them a gradient
(`wapo_verl.training.winners_trainer`).
"""

from typing import Any

import numpy as np
import transfer_queue as tq
from omegaconf import open_dict
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer
from verl.trainer.ppo.v1.trainer_base import PPOTrainer, register_trainer
from verl.trainer.ppo.v1.trainer_colocate_async import PPOTrainerColocateAsync
from verl.trainer.ppo.v1.trainer_separate_async import PPOTrainerSeparateAsync
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.utils.debug import marked_timer
from verl.workers.utils.padding import response_to_nested

from wapo_verl.algorithms import Batch, algorithm
from wapo_verl.algorithms.batch import spread
from wapo_verl.algorithms.groups import group_advantages, group_metrics
from wapo_verl.environments.episode import TRUNCATED_OUTCOMES
from wapo_verl.metrics.episodes import batch_metrics
from wapo_verl.metrics.overlap import overlap_metrics
from wapo_verl.metrics.repetition import repetition_metrics
from wapo_verl.settings.resolve import algorithm_options
from wapo_verl.settings.run import PREFIX
from wapo_verl.training.group_filter import check_group_filter, group_filter
from wapo_verl.training.guarded_trainer import GuardedTrainer
from wapo_verl.training.replay_buffer import bounded
from wapo_verl.training.winners_trainer import WinnersOnlyTrainer

POLL_SECONDS = 0.05


class StableTrainer(WinnersOnlyTrainer):
    """What this project changes in a veRL V1 trainer; mixed into each of its modes below."""

    def __init__(self, config: Any) -> None:
        with open_dict(config):
            # veRL branches on the mode's own name in many places.
            config.trainer.v1.trainer_mode = config.trainer.v1.trainer_mode.removeprefix(PREFIX)
        super().__init__(config)
        self.algorithm = algorithm(config.algorithm.adv_estimator)
        self.options = {} if self.algorithm is None else algorithm_options(config, self.algorithm)
        self._trains = True

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
        check_group_filter(self.config)
        groups = self.config.algorithm.filter_groups
        limit = groups.max_num_gen_batches
        with open_dict(groups):
            groups.max_num_gen_batches = 0
            try:
                return super()._resolve_filter_groups_metric()
            finally:
                groups.max_num_gen_batches = limit

    def _compute_advantage(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """Ask the algorithm for the batch's advantages, (R,) one a row, and spread them over the rows' own tokens."""
        if self.algorithm is None:
            metrics.update(self._group_metrics(batch))
            return super()._compute_advantage(batch, metrics)
        if self._whole is not None:
            return batch  # they came before the rows were chosen
        data = tq.kv_batch_get(
            keys=batch.keys,
            partition_id=batch.partition_id,
            select_fields=["response_mask", "rm_scores", "extra_fields"],
        )
        nested_mask = data["response_mask"]
        mask = nested_mask.to_padded_tensor(0)
        found = self.algorithm.advantages(
            Batch.from_keys(
                keys=batch.keys,
                rewards=data["rm_scores"].to_padded_tensor(0.0).sum(dim=-1),
                padding=[bool(tag.get("is_padding", False)) for tag in batch.tags],
                truncated=self._truncated(batch, list(data["extra_fields"])),
                lengths=mask.sum(dim=-1),
            ),
            self.options,
        )
        metrics.update(found.metrics)
        rows = found.rows
        if self.planner.negatives and found.loser_rows is not None:
            rows = rows + found.loser_rows
        self._carries = (rows != 0).tolist()
        self._trains = any(self._carries)
        self._response_tokens = int(mask.sum())
        advantages = response_to_nested(spread(rows, mask), nested_mask)
        fields = TensorDict({"advantages": advantages, "returns": advantages}, batch_size=len(batch))
        return tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=fields)

    def _group_metrics(self, batch: KVBatchMeta) -> dict[str, float]:
        """Count winners and groups where veRL's own estimator, which does not, makes the advantages."""
        rewards = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=["rm_scores"])
        completions = Batch.from_keys(
            keys=batch.keys,
            rewards=rewards["rm_scores"].to_padded_tensor(0.0).sum(dim=-1),
            padding=[bool(tag.get("is_padding", False)) for tag in batch.tags],
        ).completions()
        plain = group_advantages(completions.rewards, completions.groups)
        return group_metrics(plain, (plain > 0) & completions.real, completions.groups, completions.real)

    def _truncated(self, batch: KVBatchMeta, extra_fields: list[Any]) -> list[bool]:
        """Tell for each row whether a length limit cut it: by its episode's outcome, else by its length in tokens."""
        limit = self.config.actor_rollout_ref.rollout.response_length
        episodes = [_episode(extra) for extra in extra_fields]
        return [
            episode["outcome"] in TRUNCATED_OUTCOMES if episode else tag.get("response_len", 0) >= limit
            for episode, tag in zip(episodes, batch.tags, strict=True)
        ]

    def _update_actor(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """Update the actor, or skip a batch without an advantage: even a zero gradient would move Adam's weights."""
        metrics["actor/skipped_steps"] = float(not self._trains)
        if not self._trains:
            return batch
        return super()._update_actor(batch, metrics)

    def _compute_metrics(self, batch: KVBatchMeta, metrics: dict, *args: Any, **kwargs: Any) -> None:
        """Measure what was sampled: padding rows are left out of veRL's throughput and times a token, too."""
        keys, fields = _real_keys(batch), ["extra_fields", "responses", "response_mask"]
        super()._compute_metrics(batch.select_keys(keys), metrics, *args, **kwargs)
        if self.planner.taxonomy:
            fields.append("advantages")
        data = tq.kv_batch_get(keys=keys, partition_id=batch.partition_id, select_fields=fields)
        metrics.update(batch_metrics(data["extra_fields"]))
        responses, mask = (data[name].to_padded_tensor(0) for name in ("responses", "response_mask"))
        metrics.update(repetition_metrics(responses, mask))
        if self.planner.taxonomy:
            metrics.update(overlap_metrics(keys, responses, mask, data["advantages"].to_padded_tensor(0.0)))

    def _log_rollout_data(self, batch: KVBatchMeta, timing_raw: dict, rollout_data_dir: str) -> None:
        """Write one JSON line a completion: what veRL writes, and the turn markers, reward parts and episode record."""
        with marked_timer("dump_rollout_generations", timing_raw, color="green"):
            keys = sorted(_real_keys(batch))
            data = tq.kv_batch_get(
                keys=keys,
                partition_id=batch.partition_id,
                select_fields=["prompts", "responses", "rm_scores", "reward_model", "extra_fields"],
            )
            extra_fields = list(data["extra_fields"])
            parts = [_reward_parts(extra) for extra in extra_fields]
            names = sorted({name for part in parts for name in part} - {"score"})
            self._dump_generations(
                inputs=[self.tokenizer.decode(ids) for ids in data["prompts"].unbind()],
                outputs=[self.tokenizer.decode(ids) for ids in data["responses"].unbind()],
                gts=[item.get("ground_truth") for item in data["reward_model"]],
                scores=[float(scores.sum()) for scores in data["rm_scores"].unbind()],
                reward_extra_infos_dict={
                    "uid": keys,
                    "episode": [_episode(extra) for extra in extra_fields],
                    **{name: [part.get(name) for part in parts] for name in names},
                },
                dump_path=rollout_data_dir,
            )


def _real_keys(batch: KVBatchMeta) -> list[str]:
    """Return the keys of a batch's rows without those that veRL added as padding."""
    return [key for key, tag in zip(batch.keys, batch.tags, strict=True) if not tag.get("is_padding", False)]


def _episode(extra_fields: Any) -> dict[str, Any] | None:
    return extra_fields.get("episode") if isinstance(extra_fields, dict) else None


def _reward_parts(extra_fields: Any) -> dict[str, float]:
    """Return the numbers among what the reward function returned for one row."""
    info = extra_fields.get("reward_extra_info") or {} if isinstance(extra_fields, dict) else {}
    return {name: float(value) for name, value in info.items() if isinstance(value, int | float | np.number)}


class OftenPolling(PPOTrainer):
    """Looks for finished episodes often. Not in `separate_async`, where veRL takes a wait of one poll for idleness."""

    def _build_replay_buffer(self) -> ReplayBuffer:
        replay_buffer = super()._build_replay_buffer()
        replay_buffer.poll_interval = POLL_SECONDS
        return replay_buffer


@register_trainer(f"{PREFIX}sync")
class StableTrainerSync(GuardedTrainer, OftenPolling, StableTrainer, PPOTrainerSync):
    """Trainer and rollout take turns on the same devices."""


@register_trainer(f"{PREFIX}colocate_async")
class StableTrainerColocateAsync(GuardedTrainer, OftenPolling, StableTrainer, PPOTrainerColocateAsync):
    """Trainer and rollout share devices, rollouts continuing over steps."""


@register_trainer(f"{PREFIX}separate_async")
class StableTrainerSeparateAsync(GuardedTrainer, StableTrainer, PPOTrainerSeparateAsync):
    """Trainer and rollout on devices of their own."""
