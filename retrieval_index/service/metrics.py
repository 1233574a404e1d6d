"""What GET /metrics returns, in Prometheus' text format.

With several workers every process writes its metrics into a shared folder (the library's multiprocess mode, which
`workers` switches on through PROMETHEUS_MULTIPROC_DIR before this module is imported), and any worker answers for all:
counters and histograms are sums, the gauge of waiting queries is the sum over living workers.
"""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class ServiceMetrics:
    """The metrics of one worker."""

    def __init__(self, documents: int) -> None:
        """Begin to count, for an index of so many documents."""
        self._registry = CollectorRegistry()
        registry = self._registry
        self.requests = Counter(
            "retrieval_requests", "Answered requests to /retrieve.", ["contract", "status"], registry=registry
        )
        self.queries = Counter("retrieval_queries", "Queries in requests answered with 200.", registry=registry)
        self.seconds = Histogram(
            "retrieval_request_seconds",
            "From a request's whole body to its answer, those with 200.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.search_seconds = Histogram(
            "retrieval_search_seconds", "One batch in the index.", buckets=_SECONDS, registry=registry
        )
        self.batch_queries = Histogram(
            "retrieval_batch_queries", "Queries searched together.", buckets=_SIZES, registry=registry
        )
        self.waiting = Gauge(
            "retrieval_waiting_queries",
            "Queries that wait for a thread.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        size = Gauge(
            "retrieval_index_documents", "Documents in the index.", multiprocess_mode="livemax", registry=registry
        )
        size.set(documents)

    def text(self) -> bytes:
        """Return the page, over all workers if there are several. It reads files: do not call it in an event loop."""
        if FOLDER_VARIABLE not in os.environ:
            return generate_latest(self._registry)
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)
        return generate_latest(everyone)
