"""Metrics over a batch's searches, counted by hand. No veRL, no GPU."""

from dataclasses import asdict
from typing import Any

import pytest

from retrieval_index.client import Attempts
from wapo_verl.metrics.episodes import batch_metrics
from wapo_verl.metrics.searches import search_attempt_metrics

BATCH = [
    asdict(Attempts(made=3, failed=1, calls=2, queries=2, retries=1, timeouts=1, failovers=1, seconds=[0.5, 0.1])),
    asdict(Attempts()),
    asdict(Attempts(made=5, failed=1, calls=8, queries=8, cache_hits=4, retries=1, seconds=[0.2, 0.2, 0.3, 0.2])),
]


def test_a_batch_is_counted_by_hand() -> None:
    assert search_attempt_metrics(BATCH) == {
        "episode/retrieval_error_rate": 0.25,
        "retrieval/calls": 10.0,
        "retrieval/queries": 10.0,
        "retrieval/cache_hits": 4.0,
        "retrieval/cache_hit_rate": 0.4,
        "retrieval/attempts": 8.0,
        "retrieval/failed_attempts": 2.0,
        "retrieval/retries": 2.0,
        "retrieval/timeouts": 1.0,
        "retrieval/failovers": 1.0,
        "retrieval/latency_s/p50": 0.2,
        "retrieval/latency_s/p99": 0.5,
        "retrieval/latency_s/max": 0.5,
    }


def test_a_batch_without_searches_has_all_keys_and_an_empty_batch_none() -> None:
    assert set(search_attempt_metrics([BATCH[1]]).values()) == {0.0}
    assert set(search_attempt_metrics([BATCH[1]])) == set(search_attempt_metrics(BATCH))
    assert search_attempt_metrics([]) == {}


def test_a_steps_column_has_them() -> None:
    column: list[dict[str, Any]] = [{"search_attempts": BATCH[0]}, {"turn_scores": []}]
    assert batch_metrics(column)["episode/retrieval_error_rate"] == pytest.approx(1 / 3)
