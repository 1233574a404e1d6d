"""How a batch's searches went: counts, cache, retries, latency. Pure functions on what the agent loops count."""

from collections.abc import Mapping, Sequence
from typing import Any

from retrieval_index.client.counters import Attempts, quantile

_SUMS = {
    "calls": "calls",
    "queries": "queries",
    "cache_hits": "cache_hits",
    "attempts": "made",
    "failed_attempts": "failed",
    "retries": "retries",
    "timeouts": "timeouts",
    "failovers": "failovers",
}
"""Name of the metric under `retrieval/` -> attribute of `Attempts`."""

_QUANTILES = {"p50": 0.5, "p99": 0.99, "max": 1.0}


def search_attempt_metrics(attempts: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return metrics of a batch's searches; empty for an empty batch.

    Args:
        attempts: for each episode, `retrieval_index.client.Attempts` as a mapping. A search that fails for good stops
            the run, so what is counted here are failures that a further attempt made good.

    Returns:
        `episode/retrieval_error_rate`, failed attempts at a search among all attempts (0 where none was made), and
        under `retrieval/`: sums over the batch, `calls`, `queries`, `cache_hits` (queries), `attempts`,
        `failed_attempts`, `retries`, `timeouts` and `failovers`; `cache_hit_rate` among the queries; and
        `latency_s/p50`, `/p99` and `/max` in seconds, of the calls that asked the index, retries and pauses included
        (0 where none did).
    """
    if not attempts:
        return {}
    total = Attempts()
    for counted in attempts:
        total.add(Attempts(**counted))
    seconds = sorted(total.seconds)
    return {
        "episode/retrieval_error_rate": total.failed / max(1, total.made),
        **{f"retrieval/{name}": float(getattr(total, attribute)) for name, attribute in _SUMS.items()},
        "retrieval/cache_hit_rate": total.cache_hits / max(1, total.queries),
        **{f"retrieval/latency_s/{name}": quantile(seconds, share) for name, share in _QUANTILES.items()},
    }
