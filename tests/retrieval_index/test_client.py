"""The asynchronous client over a local index: concurrency, deadlines, retries, and failures that stay failures."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from retrieval_index import Document, Hit, RetrievalError, build_index
from retrieval_index.client import Retriever, connect

HIT = Hit(Document("a", "", "x"), 1.0)


class Scripted:
    """Stands in for an open index: each search does what the next step says, and the last step is repeated."""

    def __init__(self, *steps: float | Exception) -> None:
        self.steps = list(steps)
        self.running = self.most_running = self.searches = 0
        self.lock = threading.Lock()

    def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        with self.lock:
            self.searches += 1
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        try:
            if isinstance(step, Exception):
                raise step
            time.sleep(step)
        finally:
            with self.lock:
                self.running -= 1
        return [[HIT] for _ in queries]


def scripted(index: Scripted, **options: float) -> Retriever:
    retriever = connect("nowhere", **options)  # type: ignore[arg-type]
    retriever._index = index  # type: ignore[assignment]
    return retriever


@pytest.fixture
def path(tmp_path: Path) -> Path:
    build_index([Document(str(number), "", f"granite w{number}") for number in range(50)], tmp_path / "index")
    return tmp_path / "index"


async def test_many_concurrent_searches_get_their_own_answers(path: Path) -> None:
    retriever = connect(path, timeout_s=30, retries=0)
    found = await asyncio.gather(*(retriever.search([f"w{number}", "the"], 3) for number in range(50)))
    assert [hits[0][0].document.id for hits in found] == [str(number) for number in range(50)]
    assert all(hits[1] == [] for hits in found)
    stats = retriever.stats()
    assert (stats["calls"], stats["queries"], stats["failures"], stats["retries"]) == (50, 100, 0, 0)
    assert 0 < stats["latency_p50_s"] <= stats["latency_p99_s"] <= stats["latency_max_s"]
    await retriever.close()


async def test_the_index_is_opened_at_the_first_search(path: Path) -> None:
    retriever = connect(path)
    assert retriever._index is None
    await retriever.search(["granite"], 1)
    assert retriever._index is not None
    await retriever.close()


async def test_the_event_loop_is_never_blocked_and_threads_are_bounded() -> None:
    index = Scripted(0.02)
    retriever = scripted(index, threads=2)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await asyncio.gather(*(retriever.search(["q"], 1) for _ in range(10)))
    ticking.cancel()
    assert ticks >= 3
    assert index.most_running <= 2
    await retriever.close()


async def test_a_passing_failure_is_retried() -> None:
    retriever = scripted(Scripted(RetrievalError("disk hiccup"), 0.0), retries=1)
    assert await retriever.search(["q"], 1) == [[HIT]]
    assert retriever.stats()["retries"] == 1
    assert retriever.stats()["failures"] == 0
    await retriever.close()


async def test_a_lasting_failure_raises_after_bounded_retries() -> None:
    index = Scripted(RetrievalError("disk gone"))
    retriever = scripted(index, retries=2)
    with pytest.raises(RetrievalError, match=r"2 queries to nowhere failed after 3 attempt\(s\): disk gone"):
        await retriever.search(["q", "r"], 1)
    assert index.searches == 3
    assert retriever.stats()["failures"] == 1
    await retriever.close()


async def test_a_slow_search_meets_its_deadline() -> None:
    retriever = scripted(Scripted(0.5), timeout_s=0.05, retries=1)
    started = time.perf_counter()
    with pytest.raises(RetrievalError, match=r"failed after 2 attempt\(s\): no answer within 0\.05 s"):
        await retriever.search(["q"], 1)
    assert time.perf_counter() - started < 0.45
    assert retriever.stats()["timeouts"] == 2
    await retriever.close()


async def test_a_missing_index_fails_at_once_with_its_reason(tmp_path: Path) -> None:
    retriever = connect(tmp_path / "nowhere", retries=5)
    with pytest.raises(RetrievalError, match=r"failed after 1 attempt\(s\): there is no index at"):
        await retriever.search(["q"], 1)
    await retriever.close()


async def test_a_wrong_request_is_not_retried(path: Path) -> None:
    retriever = connect(path)
    with pytest.raises(ValueError, match="top_k"):
        await retriever.search(["q"], 0)
    assert retriever.stats()["calls"] == 0
    await retriever.close()


async def test_a_closed_retriever_says_so(path: Path) -> None:
    retriever = connect(path)
    await retriever.close()
    with pytest.raises(RetrievalError, match="is closed"):
        await retriever.search(["q"], 1)


def test_stats_before_the_first_call_are_zero() -> None:
    assert set(connect("nowhere").stats().values()) == {0}


def test_addresses_and_numbers_are_checked() -> None:
    with pytest.raises(ValueError, match="HTTP is not supported yet"):
        connect("http://localhost:8000")
    with pytest.raises(ValueError, match="timeout_s must be above 0"):
        connect("index", timeout_s=0)
