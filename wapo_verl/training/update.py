"""Update the actor on chosen rows, and turn what the engine answers to an update into the metrics of a step."""

from dataclasses import dataclass
from typing import Any

import torch
from verl.utils.metric import reduce_metrics
from verl.utils.py_functional import rename_dict

from wapo_verl.algorithms.objective import bypasses
from wapo_verl.engine.loss_metrics import finish_loss_metrics
from wapo_verl.engine.step_plan import StepPlan
from wapo_verl.training.row_selection import update_orders
from wapo_verl.training.step import StepState, optimizer_steps

CHANGE = "taxonomy/entropy_change"


def update_chosen_rows(workers: Any, step: StepState, plan: StepPlan, config: Any) -> dict[str, Any]:
    """Send one mini-batch at a time, since what is left of them differs in size; veRL's worker wants equal ones.

    The update is the full batch's up to rounding: veRL divides by the configured mini-batch, and each row stays in its
    own.

    Args:
        workers: the actor's worker group.
        step: the step, whose rows are chosen.
        plan: the step's plan.
        config: veRL's whole configuration.

    Returns:
        The update's metrics under veRL's names, reduced over all mini-batches.
    """
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    collected: dict[str, list[Any]] = {}
    orders = update_orders(step.parts or (), actor.ppo_mini_batch_size * rollout.n, actor.ppo_epochs, plan.to_dict())
    for rows, beside in orders:
        part = step.only(rows)
        part.extra_info.update(
            calculate_entropy=bool(actor.calculate_entropy),
            distillation_use_topk=False,
            distillation_only=False,
            temperature=rollout.temperature,
            seed=actor.data_loader_seed,
            **beside,
        )
        for name, values in workers.update_actor(part)["metrics"].items():
            collected.setdefault(name, []).extend(values if isinstance(values, list) else [values])
    collected["lr"] = collected["lr"][-1:]  # veRL logs one a batch, after its schedule has advanced
    output = rename_dict(collected, "actor/")
    output["perf/mfu/actor"] = output.pop("actor/mfu")
    return dict(reduce_metrics(output))


def trained_rows_metrics(step: StepState, config: Any) -> dict[str, float]:
    """Return how many rows the update is computed on, and which optimizer steps it leaves out; nothing without one."""
    if not step.trains:
        return {}
    rows, all_rows = len(step.chosen), len(step.batch.keys)
    skipped = optimizer_steps(config, all_rows) - optimizer_steps(config, all_rows, step.parts)
    return {
        "actor/trained_rows/count": float(rows),
        "actor/trained_rows/fraction": rows / all_rows,
        "actor/skipped_mini_batches": float(skipped),
    }


def own_mean(values: torch.Tensor, mask: torch.Tensor) -> float:
    """Return the mean over a batch's own tokens, each counting once.

    Args:
        values: jagged nested (R, T) float, a number for each response token.
        mask: the same shape, 1 on tokens that the policy wrote.
    """
    return float(values.values()[mask.values().bool()].double().mean())


def has_answer(metrics: dict[str, Any]) -> bool:
    """Tell whether the workers' engine obeyed the plan of the update that these are the metrics of."""
    return "actor/ratio_max" in metrics


def check_answer(metrics: dict[str, Any], needed: bool) -> None:
    """Check that the workers' engine obeyed the plan, where this batch needs it to.

    Raises:
        RuntimeError: where it did not.
    """
    if needed and not has_answer(metrics):
        raise RuntimeError(
            "the workers' engine answered no step plan, so the run's wapo.taxonomy, wapo.negative_weights, "
            "wapo.clip_schedule, wapo.winners_only or wapo.guard.on_rollback cannot be obeyed: another plugin has "
            "registered an engine for this device or vendor"
        )


def finish_metrics(metrics: dict[str, Any], step: StepState | None, rows: int, plan: StepPlan, config: Any) -> None:
    """Make what an update's metrics are logged as of what the engine answered, in place.

    Args:
        metrics: the step's metrics.
        step: the step; None where the algorithm is veRL's.
        rows: rows of the batch that the update was asked for.
        plan: the step's plan.
        config: veRL's whole configuration.
    """
    parts = None if step is None else step.parts
    finish_loss_metrics(metrics, optimizer_steps(config, rows, parts))
    own_tokens, actor = None if step is None else step.own_tokens, config.actor_rollout_ref.actor
    name_entropy(metrics, actor, rows, own_tokens, chosen=parts is not None)
    name_as_verl_does(metrics, bypasses(config))
    if plan.clip_ratio_high is not None:
        metrics["actor/clip_ratio_high"] = plan.clip_ratio_high


def name_entropy(metrics: dict[str, Any], actor: Any, rows: int, own_tokens: int | None, chosen: bool) -> None:
    """Log the entropy in nats a token, in place; what is measured over more rows, or by veRL itself, stays.

    An engine that answers no plan leaves it to `actor/entropy_loss`, which under `seq-mean-token-sum-norm` is the sum
    of the tokens' entropies over rows * L.

    Args:
        metrics: the step's metrics.
        actor: the actor's settings.
        rows: rows of the batch.
        own_tokens: tokens of the batch that the policy wrote; None where nobody counted them.
        chosen: whether the update was on chosen rows.
    """
    entropy = metrics.pop("actor/update_entropy", None)
    if entropy is not None and chosen:
        metrics["actor/trained_rows/entropy"] = entropy
    summed = actor.loss_agg_mode == "seq-mean-token-sum-norm" and actor.loss_scale_factor is not None
    if entropy is None and "actor/entropy_loss" in metrics and not (summed and own_tokens is None):
        scale = rows * actor.loss_scale_factor / max(own_tokens or 0, 1) if summed else 1.0
        entropy = metrics["actor/entropy_loss"] * scale
    if entropy is not None:
        metrics.setdefault("actor/entropy", entropy)


def name_as_verl_does(metrics: dict[str, Any], bypass: bool) -> None:
    """Give the engine's further metrics the names under which they are logged, in place.

    Args:
        metrics: the step's metrics.
        bypass: whether the old log-probs are the rollout's own; else veRL measures the gap between the two itself.
    """
    for name in [name for name in metrics if name.startswith("actor/taxonomy/")]:
        metrics[name.removeprefix("actor/")] = metrics.pop(name)
    for statistic in ("mean", "max"):
        gap = metrics.pop(f"actor/behaviour_probs_diff_{statistic}", None)
        if bypass and gap is not None:
            metrics[f"training/rollout_probs_diff_{statistic}"] = gap


@dataclass(slots=True)
class EntropyChange:
    """The change of the entropy that each step's gradient predicts, beside what it came to one step later.

    Attributes:
        last: the entropy of the last step, and the change it predicted; None before the first.
    """

    last: tuple[float, float] | None = None

    def pair(self, metrics: dict[str, Any]) -> None:
        """Log this step's predicted change, and the last step's with what was measured, in place."""
        predicted, entropy = metrics.pop(CHANGE, None), metrics.get("actor/entropy")
        if predicted is None or entropy is None:
            return
        metrics[f"{CHANGE}/predicted"] = predicted
        if self.last is not None:
            before, metrics[f"{CHANGE}/predicted_previous"] = self.last
            metrics[f"{CHANGE}/measured"] = entropy - before
        self.last = (entropy, predicted)
