"""Queries that wait together are searched together, in order, within bounds. No server; the index is a stand-in."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval_index import Document, Hit, RetrievalError
from retrieval_index.service.batching import LONGEST_RETRY_AFTER_S, Batcher, QueueFullError
from retrieval_index.service.metrics import ServiceMetrics


class Gated:
    """Answers each query with documents named by it, once the gate is open; notes the batches."""

    def __init__(self, is_open: bool = True) -> None:
        self.gate = threading.Event()
        if is_open:
            self.gate.set()
        self.batches: list[tuple[list[str], int]] = []

    def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        self.batches.append((list(queries), top_k))
        assert self.gate.wait(10)
        if "bad" in queries:
            raise RetrievalError("the engine failed")
        return [[Hit(Document(f"{query}{rank}", "", ""), 1.0) for rank in range(top_k)] for query in queries]


def make(index: Any, **options: Any) -> Batcher:
    settings = {"threads": 1, "max_batch": 4, "queue_limit": 100, "max_wait_s": 10.0, **options}
    return Batcher(index, ServiceMetrics(0), **settings)


def ids(found: list[list[Hit]]) -> list[list[str]]:
    return [[hit.document.id for hit in hits] for hits in found]


async def test_what_waits_together_is_searched_together() -> None:
    index = Gated(is_open=False)
    batcher = make(index)
    first = asyncio.create_task(batcher.search(["first"], 1))
    await asyncio.sleep(0.01)
    others = [asyncio.create_task(batcher.search([name], 1)) for name in "abcbde"]
    await asyncio.sleep(0.01)
    index.gate.set()
    assert ids(await first) == [["first0"]]
    assert [ids(found) for found in await asyncio.gather(*others)] == [[[f"{name}0"]] for name in "abcbde"]
    assert index.batches == [(["first"], 1), (["a", "b", "c"], 1), (["d", "e"], 1)]  # at most 4, "b" once
    batcher.close()


async def test_a_large_request_is_shared_among_the_threads() -> None:
    index = Gated()
    batcher = make(index, threads=2, max_batch=100)
    found = await batcher.search([str(number) for number in range(10)], 2)
    assert ids(found) == [[f"{number}0", f"{number}1"] for number in range(10)]
    assert sorted(len(queries) for queries, _ in index.batches) == [5, 5]
    batcher.close()


@given(st.lists(st.tuples(st.lists(st.sampled_from("abc"), max_size=6), st.integers(1, 3)), max_size=8))
def test_every_request_gets_its_own_answer(requests: list[tuple[list[str], int]]) -> None:
    async def ask() -> list[list[list[Hit]]]:
        batcher = make(Gated(), threads=2)
        found = await asyncio.gather(*(batcher.search(queries, top_k) for queries, top_k in requests))
        batcher.close()
        return found

    for (queries, top_k), found in zip(requests, asyncio.run(ask()), strict=True):
        assert ids(found) == [[f"{query}{rank}" for rank in range(top_k)] for query in queries]


async def test_a_full_queue_turns_away_and_says_when_to_come_again() -> None:
    index = Gated(is_open=False)
    batcher = make(index, queue_limit=5)
    running = asyncio.create_task(batcher.search(["running"], 1))
    await asyncio.sleep(0.01)
    waiting = asyncio.create_task(batcher.search(list("abcde"), 1))
    await asyncio.sleep(0.01)
    assert batcher.is_full
    with pytest.raises(QueueFullError, match="5 queries wait and 1 came: this server lets 5 wait") as raised:
        await batcher.search(["one more"], 1)
    assert 1 <= raised.value.retry_after_s <= LONGEST_RETRY_AFTER_S
    index.gate.set()
    await asyncio.gather(running, waiting)
    assert not batcher.is_full
    assert await batcher.search(["one more"], 1)
    batcher.close()


async def test_what_has_waited_too_long_is_turned_away_unsearched() -> None:
    index = Gated(is_open=False)
    batcher = make(index, max_wait_s=0.05)
    running = asyncio.create_task(batcher.search(["running"], 1))
    await asyncio.sleep(0.01)
    late = asyncio.create_task(batcher.search(["late"], 1))
    await asyncio.sleep(0.1)
    index.gate.set()
    await running
    with pytest.raises(QueueFullError, match=r"no thread was free for 0\.05 s"):
        await late
    assert index.batches == [(["running"], 1)]
    batcher.close()


async def test_a_request_that_is_being_answered_has_waited_enough() -> None:
    """However long its own queries take: an idle server must not turn a large request away half-way."""

    class Slow(Gated):
        def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
            time.sleep(0.15)
            return super().search(queries, top_k)

    batcher = make(Slow(), max_batch=1, max_wait_s=0.5)
    assert ids(await batcher.search(list("abcdefgh"), 1)) == [[f"{name}0"] for name in "abcdefgh"]
    batcher.close()


async def test_a_caller_that_is_gone_is_not_searched_for() -> None:
    index = Gated(is_open=False)
    batcher = make(index)
    running = asyncio.create_task(batcher.search(["running"], 1))
    await asyncio.sleep(0.01)
    gone = asyncio.create_task(batcher.search(["gone"], 1))
    await asyncio.sleep(0.01)
    gone.cancel()
    index.gate.set()
    await running
    await batcher.search(["next"], 1)
    assert index.batches == [(["running"], 1), (["next"], 1)]
    batcher.close()


async def test_a_failure_reaches_every_request_of_its_batch_and_no_other() -> None:
    index = Gated(is_open=False)
    batcher = make(index)
    running = asyncio.create_task(batcher.search(["running"], 1))
    await asyncio.sleep(0.01)
    tasks = [asyncio.create_task(batcher.search([name], 1)) for name in ("bad", "beside", "third", "fourth", "fifth")]
    await asyncio.sleep(0.01)
    index.gate.set()
    await running
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(answer, RetrievalError) for answer in found] == [True, True, True, True, False]
    batcher.close()
