"""veRL's V1 trainers, with the step an algorithm of this project needs.

`wapo_sync`, `wapo_colocate_async` and `wapo_separate_async` are veRL's trainer modes of the same name; the settings
resolution picks them for the algorithms of this project (`+wapo.trainer=false` keeps veRL's own). They differ in this:

- advantages come from the algorithm itself, which sees sessions and padding, not rows alone;
- a batch without a winner takes no step: no gradient, no optimizer moments, no step count;
- episodes' outcomes and reward parts are metrics, and the training dump keeps them;
- finished episodes are noticed within `POLL_SECONDS`, where veRL looks every two seconds.

Left out: ordering the step so that only winners are computed on.
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

from wapo_verl.algorithms import Batch, algorithm, finish_loss_metrics
from wapo_verl.algorithms.verl_bridge import spread
from wapo_verl.metrics.episodes import batch_metrics
from wapo_verl.run_settings import PREFIX
from wapo_verl.settings import algorithm_options

POLL_SECONDS = 0.05
TRUNCATED_OUTCOMES = frozenset({"turn_truncated", "context_full"})


class StableTrainer(PPOTrainer):
    """What this project changes in a veRL V1 trainer; mixed into each of its modes below."""

    def __init__(self, config: Any) -> None:
        with open_dict(config):
            # veRL branches on the mode's own name in many places.
            config.trainer.v1.trainer_mode = config.trainer.v1.trainer_mode.removeprefix(PREFIX)
        super().__init__(config)
        self.algorithm = algorithm(config.algorithm.adv_estimator)
        self.options = {} if self.algorithm is None else algorithm_options(config, self.algorithm)
        self._has_winner = True
        self._response_tokens: int | None = None  # of the batch, where our algorithm has seen it

    def _build_replay_buffer(self) -> ReplayBuffer:
        """Build veRL's replay buffer, polling often."""
        replay_buffer = super()._build_replay_buffer()
        replay_buffer.poll_interval = POLL_SECONDS
        return replay_buffer

    def _compute_advantage(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """Ask the algorithm for the batch's advantages, (R,) one a row, and spread them over the rows' own tokens."""
        if self.algorithm is None:
            return super()._compute_advantage(batch, metrics)
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
            ),
            self.options,
        )
        metrics.update(found.metrics)
        self._has_winner = bool(found.winners.any())
        self._response_tokens = int(mask.sum())
        advantages = response_to_nested(spread(found.rows, mask), nested_mask)
        fields = TensorDict({"advantages": advantages, "returns": advantages}, batch_size=len(batch))
        return tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=fields)

    def _truncated(self, batch: KVBatchMeta, extra_fields: list[Any]) -> list[bool]:
        """Tell for each row whether a length limit cut it: by its episode's outcome, else by its length in tokens."""
        limit = self.config.actor_rollout_ref.rollout.response_length
        episodes = [_episode(extra) for extra in extra_fields]
        return [
            episode["outcome"] in TRUNCATED_OUTCOMES if episode else tag.get("response_len", 0) >= limit
            for episode, tag in zip(episodes, batch.tags, strict=True)
        ]

    def _update_actor(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """Update the actor, or skip a batch without a winner: even a zero gradient would move Adam's weights."""
        metrics["actor/skipped_steps"] = float(not self._has_winner)
        if not self._has_winner:
            return batch
        batch = super()._update_actor(batch, metrics)
        finish_loss_metrics(metrics)
        self._name_as_verl_does(metrics, rows=len(batch.keys))
        return batch

    def _name_as_verl_does(self, metrics: dict, rows: int) -> None:
        """Add, in place, the metrics veRL leaves out in bypass mode: token-mean entropy (nats) and the rollout's gap.

        Under `seq-mean-token-sum-norm` veRL's `actor/entropy_loss` is the entropies' sum over rows * L.
        """
        actor = self.config.actor_rollout_ref.actor
        summed = actor.loss_agg_mode == "seq-mean-token-sum-norm" and actor.loss_scale_factor is not None
        countable = not summed or self._response_tokens is not None
        if "actor/entropy_loss" in metrics and "actor/entropy" not in metrics and countable:
            scale = rows * actor.loss_scale_factor / max(self._response_tokens or 0, 1) if summed else 1.0
            metrics["actor/entropy"] = metrics["actor/entropy_loss"] * scale
        bypass = (self.config.algorithm.get("rollout_correction") or {}).get("bypass_mode", False)
        for statistic in ("mean", "max"):
            gap = metrics.pop(f"actor/behaviour_probs_diff_{statistic}", None)
            if bypass and gap is not None:
                metrics[f"training/rollout_probs_diff_{statistic}"] = gap

    def _compute_metrics(self, batch: KVBatchMeta, metrics: dict, *args: Any, **kwargs: Any) -> None:
        super()._compute_metrics(batch, metrics, *args, **kwargs)
        data = tq.kv_batch_get(keys=_real_keys(batch), partition_id=batch.partition_id, select_fields=["extra_fields"])
        metrics.update(batch_metrics(data["extra_fields"]))

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


@register_trainer(f"{PREFIX}sync")
class StableTrainerSync(StableTrainer, PPOTrainerSync):
    """Trainer and rollout take turns on the same devices."""


@register_trainer(f"{PREFIX}colocate_async")
class StableTrainerColocateAsync(StableTrainer, PPOTrainerColocateAsync):
    """Trainer and rollout share devices, rollouts continuing over steps."""


@register_trainer(f"{PREFIX}separate_async")
class StableTrainerSeparateAsync(StableTrainer, PPOTrainerSeparateAsync):
    """Trainer and rollout on devices of their own."""
