"""Metrics of a loss, reduced exactly over micro-batches, ranks and mini-batches.

veRL averages a loss's metrics over micro-batches, each weighing the same, whatever they are. A mean over winners'
tokens and a maximum need their own reduction, so they are sent as veRL `Metric`s (which a patch lets through, see
`wapo_verl.verl_plugin.patches`): a mean as two sums, which `finish_loss_metrics` divides.
"""

from collections.abc import Mapping
from typing import Any

# None may hold "max" or "min", by which veRL chooses a reduction over mini-batches ("denominator" does).
_WEIGHTED, _WEIGHT, _COUNT = "/weighted_parts", "/weight_parts", "/count_parts"


def reducible(
    means: Mapping[str, tuple[Any, Any]],
    counts: Mapping[str, Any],
    maxima: Mapping[str, Any],
    minima: Mapping[str, Any] | None = None,
    ranks: int = 1,
) -> dict[str, Any]:
    """Return metrics, "actor/" before each name, as veRL puts micro-batches and ranks together exactly.

    Args:
        means: name -> (weighted sum, weight), scalars; `finish_loss_metrics` divides them.
        counts: name -> scalar, to be summed over everything.
        maxima: name -> scalar.
        minima: name -> scalar.
        ranks: data-parallel ranks, over which veRL takes the mean of what it sums over micro-batches.
    """
    from verl.utils.metric import AggregationType, Metric

    metrics = {}
    for name, (weighted, weight) in means.items():
        metrics[f"actor/{name}{_WEIGHTED}"] = Metric(AggregationType.SUM, float(weighted))
        metrics[f"actor/{name}{_WEIGHT}"] = Metric(AggregationType.SUM, float(weight))
    for name, value in counts.items():
        metrics[f"actor/{name}{_COUNT}"] = Metric(AggregationType.SUM, float(value) * ranks)
    for name, value in maxima.items():
        metrics[f"actor/{name}"] = Metric(AggregationType.MAX, float(value))
    for name, value in (minima or {}).items():
        metrics[f"actor/{name}"] = Metric(AggregationType.MIN, float(value))
    return metrics


def finish_loss_metrics(metrics: dict[str, Any], mini_batches: int = 1) -> None:
    """Make means and counts of the sums that were sent, in place, once veRL has reduced them over the whole step.

    "name/weighted_parts" and "name/weight_parts" become "name"; a mean over nothing is left out. "name/count_parts",
    of which veRL has taken the mean over mini-batches, becomes "name".
    """
    for key in [key for key in metrics if key.endswith(_WEIGHTED)]:
        name = key.removesuffix(_WEIGHTED)
        weighted, weight = float(metrics.pop(key)), float(metrics.pop(name + _WEIGHT))
        if weight > 0:
            metrics[name] = weighted / weight
    for key in [key for key in metrics if key.endswith(_COUNT)]:
        metrics[key.removesuffix(_COUNT)] = float(metrics.pop(key)) * mini_batches
