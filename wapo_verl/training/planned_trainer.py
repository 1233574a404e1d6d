"""The plan of each step in veRL's V1 trainer: sent with the batch, and what the engine answers put under its names.

Left out: what is in a plan (`step_plan`) and obeying it (`engine`).
"""

from typing import Any

from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.trainer_base import PPOTrainer

from wapo_verl.engine.loss_metrics import finish_loss_metrics
from wapo_verl.engine.step_plan import PLAN_KEY, StepPlanner

CHANGE = "taxonomy/entropy_change"


class PlannedTrainer(PPOTrainer):
    """What plans add to a veRL V1 trainer; mixed in before every class that updates the actor."""

    planner: StepPlanner
    _response_tokens: int | None = None  # of the batch, where our algorithm has seen it
    _last_entropy: tuple[float, float] | None = None  # of the last step: the entropy, and its predicted change

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.planner = StepPlanner(config)

    def _update_actor(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """Send the step's plan with the batch, and finish the metrics that come back.

        Raises:
            RuntimeError: where the workers' engine answers no plan, and this run needs one to.
        """
        plan = self.planner.at(self.global_steps, self.total_training_steps)
        batch.extra_info[PLAN_KEY] = plan.to_dict()
        mini_batches = self._mini_batches(rows=len(batch.keys))
        batch = self._send_update(batch, metrics)
        if self._needs_plan and "actor/ratio_max" not in metrics:
            raise RuntimeError(
                "the workers' engine answered no step plan, so the run's wapo.taxonomy, wapo.negative_weights, "
                "wapo.clip_schedule or wapo.winners_only cannot be obeyed: another plugin has registered an engine for "
                "this device or vendor"
            )
        finish_loss_metrics(metrics, mini_batches)
        if plan.clip_ratio_high is not None:
            metrics["actor/clip_ratio_high"] = plan.clip_ratio_high
        self._name_as_verl_does(metrics, rows=len(batch.keys))
        self._pair_entropy_changes(metrics)
        return batch

    @property
    def _needs_plan(self) -> bool:
        """Whether an engine that obeys no plan would do something else than this batch asks for."""
        return self.planner.asks

    def _send_update(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """Have the workers update the actor on this batch, as veRL does."""
        return super()._update_actor(batch, metrics)

    def _mini_batches(self, rows: int) -> int:
        """Return how many optimizer steps this batch makes; veRL counts a mini-batch in prompts."""
        config = self.config.actor_rollout_ref
        return max(rows // (config.actor.ppo_mini_batch_size * config.rollout.n), 1) * config.actor.ppo_epochs

    def _name_as_verl_does(self, metrics: dict, rows: int) -> None:
        """Give the engine's metrics their names, in place; what veRL measures itself in some modes keeps veRL's value.

        An engine that answers no plan leaves the entropy to `actor/entropy_loss`, which under `seq-mean-token-sum-norm`
        is the entropies' sum over rows * L.
        """
        for name in [name for name in metrics if name.startswith("actor/taxonomy/")]:
            metrics[name.removeprefix("actor/")] = metrics.pop(name)
        entropy = metrics.pop("actor/update_entropy", None)
        if entropy is None:
            entropy = self._entropy_from_loss(metrics, rows)
        if entropy is not None:
            metrics.setdefault("actor/entropy", entropy)
        bypass = (self.config.algorithm.get("rollout_correction") or {}).get("bypass_mode", False)
        for statistic in ("mean", "max"):
            gap = metrics.pop(f"actor/behaviour_probs_diff_{statistic}", None)
            if bypass and gap is not None:
                metrics[f"training/rollout_probs_diff_{statistic}"] = gap

    def _entropy_from_loss(self, metrics: dict, rows: int) -> float | None:
        """Return the entropy in nats a token, or None where nobody computed it or counted the tokens."""
        actor = self.config.actor_rollout_ref.actor
        summed = actor.loss_agg_mode == "seq-mean-token-sum-norm" and actor.loss_scale_factor is not None
        if "actor/entropy_loss" not in metrics or (summed and self._response_tokens is None):
            return None
        scale = rows * actor.loss_scale_factor / max(self._response_tokens or 0, 1) if summed else 1.0
        return metrics["actor/entropy_loss"] * scale

    def _pair_entropy_changes(self, metrics: dict) -> None:
        """Log the change that this step's gradient predicts, and what the last step's became, in place."""
        predicted, entropy = metrics.pop(CHANGE, None), metrics.get("actor/entropy")
        if predicted is None or entropy is None:
            return
        metrics[f"{CHANGE}/predicted"] = predicted
        if self._last_entropy is not None:
            before, metrics[f"{CHANGE}/predicted_previous"] = self._last_entropy
            metrics[f"{CHANGE}/measured"] = entropy - before
        self._last_entropy = (entropy, predicted)
