"""A search from an event loop: cached, with a deadline for the whole call and bounded retries, and counted."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Sequence

from cachetools import LRUCache

from retrieval_index.client.counters import Attempts
from retrieval_index.client.places import AttemptError, Place
from retrieval_index.client.rotation import Rotation
from retrieval_index.documents import Hit
from retrieval_index.errors import RetrievalError
from retrieval_index.index import check_request

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 10.0
"""The pause before the n-th retry is drawn evenly from half to all of FIRST_PAUSE_S * 2^n, at most LONGEST_PAUSE_S."""

SHORTEST_PAUSE_S = 0.01
"""Pauses shrink as the deadline comes near; a shorter one would not be worth an attempt."""


class Retriever:
    """Searches an index, wherever it is, without ever blocking the event loop. Make one with `connect`."""

    def __init__(
        self, rotation: Rotation, *, cached_queries: int, timeout_s: float, deadline_s: float, retries: int | None
    ) -> None:
        """Search the places of `rotation`; for the other arguments see `connect`."""
        self.address = ",".join(place.name for place in rotation.places)
        self._rotation = rotation
        self._cache: LRUCache[tuple[str, int], list[Hit]] = LRUCache(cached_queries)
        self._timeout_s, self._deadline_s, self._retries = timeout_s, deadline_s, retries
        self._closed = False

    async def search(self, queries: Sequence[str], top_k: int, attempts: Attempts | None = None) -> list[list[Hit]]:
        """Search as `Index.search` does; what the call took is added to `attempts`.

        Raises:
            ValueError: For a wrong request.
            RetrievalError: If no attempt succeeded.
        """
        check_request(queries, top_k)
        if self._closed:
            raise RetrievalError(f"the retriever over {self.address} is closed: connect again")
        call = Attempts(calls=1, queries=len(queries))
        try:
            return await self._search(queries, top_k, call)
        finally:
            if attempts is not None:
                attempts.add(call)

    async def _search(self, queries: Sequence[str], top_k: int, call: Attempts) -> list[list[Hit]]:
        """Ask for the queries that the cache does not have, each once."""
        known = {query: self._cache.get((query, top_k)) for query in queries}
        missing = [query for query, hits in known.items() if hits is None]
        call.cache_hits = sum(known[query] is not None for query in queries)
        if missing:
            started = time.monotonic()
            for query, hits in zip(missing, await self._ask(missing, top_k, call, started), strict=True):
                known[query] = hits
                if self._cache.maxsize:
                    self._cache[query, top_k] = hits
            call.seconds.append(time.monotonic() - started)
        return [list(known[query] or ()) for query in queries]

    async def _ask(self, queries: Sequence[str], top_k: int, call: Attempts, started: float) -> list[list[Hit]]:
        """Make attempts until one succeeds, no other may follow, or the time is over.

        Not tenacity: the pause depends on which servers rest, on Retry-After and on the time that is left.
        """
        last: Place | None = None
        error: AttemptError | None = None
        hopeless: set[Place] = set()
        for attempt in itertools.count() if self._retries is None else range(self._retries + 1):
            left = started + self._deadline_s - time.monotonic()
            pause = self._pause(attempt, error, left)
            if pause >= left:
                break
            if pause:
                await asyncio.sleep(pause)
            timeout_s = min(self._timeout_s, left - pause)
            began = time.monotonic()
            place = self._rotation.pick(timeout_s)
            call.made += 1
            call.retries += attempt > 0
            call.failovers += last is not None and place is not last
            last = place
            try:
                hits = await place.search(queries, top_k, timeout_s)
            except AttemptError as failed:
                error = failed
                call.failed += 1
                call.timeouts += failed.timed_out
                if failed.lasting:
                    hopeless.add(place)
                    if hopeless.issuperset(self._rotation.places):
                        break
                self._rotation.failed(place, failed.retry_after_s, began)
            else:
                self._rotation.succeeded(place)
                return hits
        call.failures += 1
        where = last.name if last is not None else self.address
        raise RetrievalError(
            f"{len(queries)} queries to {where} failed after {call.made} attempt(s) in "
            f"{time.monotonic() - started:.1f} s: {error}"
        ) from error

    def _pause(self, attempt: int, error: AttemptError | None, left: float) -> float:
        """Return the seconds before an attempt: 0 if another server can be asked; Retry-After is never cut short."""
        if error is None or (len(self._rotation.places) > 1 and self._rotation.has_ready()):
            return 0.0
        longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(attempt, 10))
        jitter = random.uniform(longest / 2, longest)
        return max(error.retry_after_s, min(jitter, left / 2), SHORTEST_PAUSE_S)

    async def close(self) -> None:
        """Close connections and threads. A closed retriever cannot search."""
        self._closed = True
        for place in self._rotation.places:
            await place.close()
