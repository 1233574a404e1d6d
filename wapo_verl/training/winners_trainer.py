"""The step of veRL's V1 trainer that computes on nothing but the rows with an advantage.

Advantages come right after the rewards. Old log-probs, reference log-probs and the update then see only the rows that
`winners_only` chose; what is logged of the batch and cleared away at the end is still the whole. The update is the full
batch's up to rounding: veRL divides by the configured mini-batch, and each row stays in its own.

Left out: rollouts that go on over steps, critics, and settings under which a row without an advantage has a gradient.
`why_not` names them; there the step is veRL's own.
"""

from collections.abc import Sequence
from typing import Any

import transfer_queue as tq
from omegaconf import DictConfig
from transfer_queue import KVBatchMeta
from verl.utils.metric import reduce_metrics
from verl.utils.py_functional import rename_dict

from wapo_verl.engine.step_plan import PLAN_KEY
from wapo_verl.training.planned_trainer import PlannedTrainer
from wapo_verl.training.winners_only import MiniBatch, balanced, forward_rows, mini_batches, update_orders
from wapo_verl.training.winners_settings import winners_only


class WinnersOnlyTrainer(PlannedTrainer):
    """What winners-only updates add to a veRL V1 trainer; `StableTrainer` computes the advantages."""

    _trains: bool
    _whole: KVBatchMeta | None = None  # the batch, while a part of it stands for it
    _parts: Sequence[MiniBatch] = ()
    _forward_micro: int | None = None  # rows of a forward pass's micro-batches, where they are not packed by tokens
    _carries: Sequence[bool] = ()  # of the batch's rows, whether each has an advantage

    def __init__(self, config: DictConfig) -> None:
        super().__init__(config)
        self.winners_only = winners_only(config)

    def _step_once(self, *args: Any, **kwargs: Any) -> KVBatchMeta:
        """Take one step as veRL does, and return the whole batch, not the part that was trained on."""
        self._whole = None
        batch = super()._step_once(*args, **kwargs)
        return batch if self._whole is None else self._whole

    def _balance_batch(self, batch: KVBatchMeta, metrics: dict, *args: Any, **kwargs: Any) -> KVBatchMeta:
        """Deal the rows over the ranks as veRL does, then find the advantages and go on with the rows that have one."""
        batch = super()._balance_batch(batch, metrics, *args, **kwargs)
        if not self.winners_only or self.config.trainer.critic_warmup > self.global_steps:
            return batch
        self._compute_advantage(batch, metrics)
        self._whole = batch
        metrics["actor/entropy"] = self._sampled_entropy(batch)
        if not self._trains:
            return batch
        self._parts = self._choose(batch)
        rows = sorted({row for part in self._parts for row in part.rows})
        metrics["actor/trained_rows/count"] = float(len(rows))
        metrics["actor/trained_rows/fraction"] = len(rows) / len(batch.keys)
        metrics["actor/skipped_mini_batches"] = float(super()._mini_batches(len(batch.keys)) - self._mini_batches(0))
        return self._for_forward_passes(batch, rows) if self._has_forward_passes else self._only(batch, rows)

    @property
    def _has_forward_passes(self) -> bool:
        """Whether log-probs are computed outside the update: the actor's own (no bypass mode) or the reference's."""
        correction = self.config.algorithm.get("rollout_correction") or {}
        return self.use_reference_policy or not correction.get("bypass_mode", False)

    def _for_forward_passes(self, batch: KVBatchMeta, rows: Sequence[int]) -> KVBatchMeta:
        """Return these rows dealt over the ranks, with what makes their micro-batches even where not packed by tokens.

        veRL's worker wants equal micro-batches, and a row too many costs less than a pass for every row.
        """
        passes = [self.config.actor_rollout_ref.rollout]
        if self.use_reference_policy and not self.ref_in_actor:
            passes.append(self.config.actor_rollout_ref.ref)
        sizes = [each.log_prob_micro_batch_size_per_gpu for each in passes if not each.log_prob_use_dynamic_bsz]
        filled, self._forward_micro = forward_rows(
            rows, _lengths(batch), self._ranks, min(sizes, default=None), balanced
        )
        return self._in_even_micro_batches(self._only(batch, filled))

    def _in_even_micro_batches(self, batch: KVBatchMeta) -> KVBatchMeta:
        if self._forward_micro is not None:
            batch.extra_info["micro_batch_size_per_gpu"] = self._forward_micro
        return batch

    @property
    def _ranks(self) -> int:
        return max(self.actor_rollout_wg._dispatch_info["actor"]) + 1

    def _sampled_entropy(self, batch: KVBatchMeta) -> float:
        """Estimate the entropy over all own tokens of the batch, nats a token, by the mean of -ln p of what was drawn.

        The update sees the winners' distributions only, and winners are more certain than losers.
        """
        fields = ["rollout_log_probs", "response_mask"]
        data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=fields)
        own = data["response_mask"].values().bool()
        return float(-data["rollout_log_probs"].values()[own].double().mean())

    def _name_as_verl_does(self, metrics: dict, rows: int) -> None:
        """Name the engine's metrics; its entropy is the trained rows' where a part of the batch was trained on."""
        if self._whole is not None and "actor/update_entropy" in metrics:
            metrics["actor/trained_rows/entropy"] = metrics["actor/update_entropy"]
        super()._name_as_verl_does(metrics, rows)

    def _choose(self, batch: KVBatchMeta) -> list[MiniBatch]:
        actor, rollout = self.config.actor_rollout_ref.actor, self.config.actor_rollout_ref.rollout
        return mini_batches(
            carries=self._carries,
            lengths=_lengths(batch),
            ranks=self._ranks,
            mini_batch_rows=actor.ppo_mini_batch_size * rollout.n,
            micro_batch_rows=None if actor.use_dynamic_bsz else actor.ppo_micro_batch_size_per_gpu,
            partition=balanced,
        )

    def _only(self, batch: KVBatchMeta, rows: Sequence[int]) -> KVBatchMeta:
        return batch.select_keys([batch.keys[row] for row in rows])

    def _compute_old_log_prob(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """Compute old log-probs of the chosen rows; the entropy of every row, found before, is kept over theirs."""
        if self._nothing_to_do:
            return batch
        whole = {} if self._whole is None else {name: metrics[name] for name in ("actor/entropy",) if name in metrics}
        batch = super()._compute_old_log_prob(batch, metrics)
        metrics.update(whole)
        return batch

    def _compute_ref_log_prob(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """Compute reference log-probs of the chosen rows; the old log-probs before them gave the batch a new record."""
        if self._nothing_to_do:
            return batch
        return super()._compute_ref_log_prob(
            batch if self._whole is None else self._in_even_micro_batches(batch), metrics
        )

    @property
    def _nothing_to_do(self) -> bool:
        return self._whole is not None and not self._trains

    @property
    def _needs_plan(self) -> bool:
        return self._whole is not None or super()._needs_plan

    def _mini_batches(self, rows: int) -> int:
        if self._whole is None:
            return super()._mini_batches(rows)
        return len(self._parts) * self.config.actor_rollout_ref.actor.ppo_epochs

    def _send_update(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """Send one mini-batch at a time, since what is left of them differs in size; veRL's worker wants equal ones."""
        if self._whole is None:
            return super()._send_update(batch, metrics)
        actor, rollout = self.config.actor_rollout_ref.actor, self.config.actor_rollout_ref.rollout
        rows_a_mini_batch = actor.ppo_mini_batch_size * rollout.n
        collected: dict[str, list[Any]] = {}
        plan = batch.extra_info[PLAN_KEY]
        for rows, beside in update_orders(self._parts, rows_a_mini_batch, actor.ppo_epochs, plan):
            part = self._only(self._whole, rows)
            part.extra_info.update(
                calculate_entropy=bool(actor.calculate_entropy),
                distillation_use_topk=False,
                distillation_only=False,
                temperature=rollout.temperature,
                seed=actor.data_loader_seed,
                **beside,
            )
            for name, values in self.actor_rollout_wg.update_actor(part)["metrics"].items():
                collected.setdefault(name, []).extend(values if isinstance(values, list) else [values])
        collected["lr"] = collected["lr"][-1:]  # veRL logs one a batch, the schedule's after it went on
        output = rename_dict(collected, "actor/")
        output["perf/mfu/actor"] = output.pop("actor/mfu")
        metrics.update(reduce_metrics(output))
        return batch


def _lengths(batch: KVBatchMeta) -> list[int]:
    """Return each row's tokens, prompt and response."""
    return [int(tag["seq_len"]) for tag in batch.tags]
