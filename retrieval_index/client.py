"""The asynchronous way to an index, for agent loops: bounded threads, a deadline a call, bounded retries, counts.

A search that cannot be answered raises; it never becomes an empty result. Left out: servers over HTTP.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from retrieval_index.documents import Hit
from retrieval_index.errors import IndexStateError, RetrievalError
from retrieval_index.index import Index, check_request, open_index

LATENCIES_KEPT = 4096
"""Calls whose latency is remembered for the quantiles of `Retriever.stats`."""


def connect(address: Path | str, *, timeout_s: float = 30.0, retries: int = 2, threads: int = 2) -> Retriever:
    """A retriever over the index at `address`, which is opened at the first search.

    `timeout_s` bounds one attempt, waiting for a thread included; a failed attempt is repeated up to `retries` times.
    Raises ValueError for an address over HTTP, which is not supported yet, and for numbers out of range.
    """
    if str(address).startswith(("http://", "https://")):
        raise ValueError(f"retrieval over HTTP is not supported yet, got {address}: give the folder of a local index")
    if timeout_s <= 0 or retries < 0 or threads < 1:
        raise ValueError(
            f"timeout_s must be above 0, retries at least 0 and threads at least 1, "
            f"got {timeout_s}, {retries}, {threads}"
        )
    return Retriever(Path(address), timeout_s=timeout_s, retries=retries, threads=threads)


class Retriever:
    """Searches a local index from an event loop without ever blocking it. Make one with `connect`."""

    def __init__(self, path: Path, *, timeout_s: float, retries: int, threads: int) -> None:
        self.address = str(path)
        self._timeout_s = timeout_s
        self._retries = retries
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="retrieval")
        self._index: Index | None = None
        self._closed = False
        self._opening = threading.Lock()
        self._counts = dict.fromkeys(("calls", "queries", "retries", "timeouts", "failures"), 0)
        self._latencies: deque[float] = deque(maxlen=LATENCIES_KEPT)

    async def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        """As `Index.search`. Raises ValueError for a wrong request and RetrievalError when no attempt succeeded."""
        check_request(queries, top_k)
        if self._closed:
            raise RetrievalError(f"the retriever over {self.address} is closed: connect again")
        started = time.perf_counter()
        self._counts["calls"] += 1
        self._counts["queries"] += len(queries)
        reason = ""
        for attempt in range(self._retries + 1):
            if attempt:
                self._counts["retries"] += 1
                await asyncio.sleep(0.05 * 2**attempt)
            try:
                future = asyncio.get_running_loop().run_in_executor(self._pool, self._search, list(queries), top_k)
                found = await asyncio.wait_for(future, self._timeout_s)
            except IndexStateError as error:
                reason = str(error)
                break  # the same index will be no better a moment later
            except TimeoutError:
                self._counts["timeouts"] += 1
                reason = f"no answer within {self._timeout_s:g} s"
            except RetrievalError as error:
                reason = str(error)
            else:
                self._latencies.append(time.perf_counter() - started)
                return found
        self._counts["failures"] += 1
        raise RetrievalError(
            f"{len(queries)} queries to {self.address} failed after {attempt + 1} attempt(s): {reason}"
        )

    def _search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        if self._index is None:
            with self._opening:
                if self._index is None:
                    self._index = open_index(self.address)
        return self._index.search(queries, top_k)

    def stats(self) -> dict[str, float]:
        """Counts since the start, and the latency of the last successful calls in seconds (0.0 before the first one).

        Keys: calls, queries, retries, timeouts, failures, latency_mean_s, latency_p50_s, latency_p99_s, latency_max_s.
        """
        ordered = sorted(self._latencies) or [0.0]
        return {
            **self._counts,
            "latency_mean_s": sum(ordered) / len(ordered),
            "latency_p50_s": ordered[len(ordered) // 2],
            "latency_p99_s": ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)],
            "latency_max_s": ordered[-1],
        }

    async def close(self) -> None:
        """Give the threads back; running searches end by themselves. A closed retriever cannot search."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
