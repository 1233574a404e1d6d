"""Queries that wait together are searched together, in threads; the queue is bounded and so is the time spent in it.

Under a light load a query goes to a free thread at once. Under a heavy one each thread, when it is free, takes the
queries that have gathered, so that they share the cost of reaching a thread. Nothing here blocks the event loop.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from retrieval_index.documents import Hit
from retrieval_index.service.metrics import ServiceMetrics

LONGEST_RETRY_AFTER_S = 30
RATE_WINDOW_S = 5.0
"""About how long the rate of answers is averaged over, from which Retry-After is computed."""


class Searches(Protocol):
    """The part of an index that is used here."""

    def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        """See `Index.search`."""


class QueueFullError(Exception):
    """Too many queries wait; `retry_after_s` is when there should be room again."""

    def __init__(self, sentence: str, retry_after_s: int) -> None:
        """Say in one sentence what waits."""
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


@dataclass(slots=True, eq=False)
class _Request:
    future: asyncio.Future[list[list[Hit]]]
    found: list[list[Hit]]
    missing: int
    since: float
    begun: bool = False  # whether a thread has taken some of its queries


@dataclass(slots=True, eq=False)
class _Query:
    text: str
    top_k: int
    place: int
    request: _Request


class Batcher:
    """Searches an index for many callers of one event loop."""

    def __init__(
        self,
        index: Searches,
        metrics: ServiceMetrics,
        *,
        threads: int,
        max_batch: int,
        queue_limit: int,
        max_wait_s: float,
    ) -> None:
        """Search `index` with `threads` threads; for the other limits see `ServiceSettings`."""
        self._index, self._metrics = index, metrics
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="search")
        self._free = threads
        self._max_batch, self._queue_limit, self._max_wait_s = max_batch, queue_limit, max_wait_s
        self._waiting: deque[_Query] = deque()
        self._asked = False
        self._rate = 0.0
        self._rate_at = time.monotonic()

    @property
    def is_full(self) -> bool:
        """Whether another query would be refused."""
        return len(self._waiting) >= self._queue_limit

    async def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        """Return one list of hits for each query.

        Raises:
            QueueFullError: If too many queries wait, or these have waited too long.
            Exception: Whatever the index raises.
        """
        if not queries:
            return []
        if len(self._waiting) + len(queries) > self._queue_limit:
            raise QueueFullError(
                f"{len(self._waiting)} queries wait and {len(queries)} came: this server lets {self._queue_limit} wait",
                self._retry_after(),
            )
        loop = asyncio.get_running_loop()
        request = _Request(loop.create_future(), [[] for _ in queries], len(queries), time.monotonic())
        self._waiting.extend(_Query(text, top_k, place, request) for place, text in enumerate(queries))
        self._metrics.waiting.set(len(self._waiting))
        if not self._asked:
            self._asked = True
            loop.call_soon(self._dispatch)  # after what else this turn of the loop has read
        return await request.future

    def close(self) -> None:
        """Release the threads after the searches that run."""
        self._pool.shutdown(wait=True)

    def _dispatch(self) -> None:
        self._asked = False
        loop = asyncio.get_running_loop()
        while self._free and self._waiting:
            batch = self._take(math.ceil(len(self._waiting) / self._free))
            if batch:
                self._free -= 1
                searching = loop.run_in_executor(
                    self._pool, self._search, [query.text for query in batch], batch[0].top_k
                )
                searching.add_done_callback(partial(self._finish, batch))
        self._metrics.waiting.set(len(self._waiting))

    def _take(self, share: int) -> list[_Query]:
        """Take the next queries that ask for the same number of documents; drop those that nobody waits for."""
        batch: list[_Query] = []
        oldest = time.monotonic() - self._max_wait_s
        while self._waiting and len(batch) < min(share, self._max_batch):
            query = self._waiting[0]
            if batch and query.top_k != batch[0].top_k:
                break
            self._waiting.popleft()
            future = query.request.future
            if not future.done() and not query.request.begun and query.request.since < oldest:
                future.set_exception(
                    QueueFullError(f"no thread was free for {self._max_wait_s:g} s", self._retry_after())
                )
            if not future.done():
                query.request.begun = True
                batch.append(query)
        return batch

    def _search(self, queries: list[str], top_k: int) -> dict[str, list[Hit]]:
        """Return the hits of each distinct query; runs in a thread."""
        distinct = list(dict.fromkeys(queries))
        with self._metrics.search_seconds.time():
            found = self._index.search(distinct, top_k)
        return dict(zip(distinct, found, strict=True))

    def _finish(self, batch: list[_Query], done: asyncio.Future[dict[str, list[Hit]]]) -> None:
        self._free += 1
        self._metrics.batch_queries.observe(len(batch))
        self._note_rate(len(batch))
        error = done.exception()
        for query in batch:
            request = query.request
            if request.future.done():
                continue
            if error is not None:
                request.future.set_exception(error)
                continue
            request.found[query.place] = done.result()[query.text]
            request.missing -= 1
            if not request.missing:
                request.future.set_result(request.found)
        self._dispatch()

    def _note_rate(self, answered: int) -> None:
        """Update the average of queries a second; recent ones weigh more."""
        now = time.monotonic()
        passed = max(now - self._rate_at, 1e-6)
        kept = math.exp(-passed / RATE_WINDOW_S)
        self._rate = kept * self._rate + (1 - kept) * answered / passed
        self._rate_at = now

    def _retry_after(self) -> int:
        """Return the whole seconds until what waits should be answered."""
        seconds = math.ceil(len(self._waiting) / self._rate) if self._rate else 1
        return min(max(seconds, 1), LONGEST_RETRY_AFTER_S)
