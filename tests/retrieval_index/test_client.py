"""The asynchronous client: concurrency, deadlines, retries, cache, failover, counts. No sockets, no GPU.

Places are stand-ins where a failure has to come on time; the local index is a real one.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from retrieval_index import Document, Hit, RetrievalError, build_index
from retrieval_index.client import Attempts, Retriever, connect, describe, parts_of
from retrieval_index.client import retriever as retriever_module
from retrieval_index.client import rotation as rotation_module
from retrieval_index.client.local import LocalIndex
from retrieval_index.client.places import AttemptError
from retrieval_index.client.rotation import FIRST_REST_S, Rotation


def hit(query: str) -> Hit:
    return Hit(Document(query, "", "x"), 1.0)


class ScriptedPlace:
    """Each search does what the next step says (seconds to take, or an error), and the last step is repeated."""

    def __init__(self, *steps: float | Exception, name: str = "nowhere") -> None:
        self.name, self.steps = name, list(steps)
        self.asked: list[list[str]] = []

    async def search(self, queries: Sequence[str], top_k: int, timeout_s: float) -> list[list[Hit]]:
        self.asked.append(list(queries))
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, Exception):
            raise step
        await asyncio.sleep(step)
        return [[hit(query)] for query in queries]

    async def close(self) -> None:
        self.steps = [AttemptError("closed")]


def over(*places: Any, retries: int = 2, cached: int = 0, deadline_s: float = 10.0) -> Retriever:
    return Retriever(Rotation(places), cached_queries=cached, timeout_s=5.0, deadline_s=deadline_s, retries=retries)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retriever_module, "FIRST_PAUSE_S", 0.005)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    build_index([Document(str(number), "", f"granite w{number}") for number in range(50)], tmp_path / "index")
    return tmp_path / "index"


async def test_many_concurrent_searches_get_their_own_answers(path: Path) -> None:
    retriever = connect(path, timeout_s=30, retries=0)
    attempts = Attempts()
    found = await asyncio.gather(*(retriever.search([f"w{number}", "the"], 3, attempts) for number in range(50)))
    assert [hits[0][0].document.id for hits in found] == [str(number) for number in range(50)]
    assert all(hits[1] == [] for hits in found)
    assert (attempts.calls, attempts.queries, attempts.failures, attempts.retries) == (50, 100, 0, 0)
    assert min(attempts.seconds) > 0
    await retriever.close()


async def test_the_index_is_opened_at_the_first_search(path: Path) -> None:
    place = LocalIndex(path, threads=2)
    assert place._index is None
    await place.search(["granite"], 1, 30.0)
    assert place._index is not None
    await place.close()


class SlowIndex:
    """Stands in for an open index: blocks its thread for a while, and counts the threads that do so at once."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.running = self.most_running = 0
        self.lock = threading.Lock()

    def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        with self.lock:
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        time.sleep(self.seconds)
        with self.lock:
            self.running -= 1
        return [[hit(query)] for query in queries]


async def test_the_event_loop_is_never_blocked_and_threads_are_bounded() -> None:
    place = LocalIndex(Path("nowhere"), threads=2)
    index = place._index = SlowIndex(0.02)
    retriever, ticks = over(place), 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await asyncio.gather(*(retriever.search(["q"], 1) for _ in range(10)))
    ticking.cancel()
    assert ticks >= 2
    assert isinstance(index, SlowIndex)
    assert index.most_running <= 2
    await retriever.close()


async def test_a_slow_local_search_meets_its_time_limit() -> None:
    place = LocalIndex(Path("nowhere"), threads=2)
    place._index = SlowIndex(0.5)
    retriever = Retriever(Rotation([place]), cached_queries=0, timeout_s=0.05, deadline_s=10.0, retries=1)
    attempts, started = Attempts(), time.perf_counter()
    with pytest.raises(RetrievalError, match=r"failed after 2 attempt\(s\) in .*: no answer within 0\.05 s"):
        await retriever.search(["q"], 1, attempts)
    assert time.perf_counter() - started < 5
    assert attempts.timeouts == 2
    await retriever.close()


async def test_a_passing_failure_is_retried() -> None:
    retriever = over(ScriptedPlace(AttemptError("disk hiccup"), 0.0))
    attempts = Attempts()
    assert await retriever.search(["q"], 1, attempts) == [[hit("q")]]
    assert (attempts.made, attempts.failed, attempts.retries) == (2, 1, 1)
    await retriever.search(["q"], 1, attempts)
    assert (attempts.made, attempts.failed, attempts.calls, len(attempts.seconds)) == (3, 1, 2, 2)
    assert attempts.failures == 0


async def test_a_lasting_failure_raises_after_bounded_retries() -> None:
    place = ScriptedPlace(AttemptError("disk gone"))
    retriever, attempts = over(place), Attempts()
    with pytest.raises(RetrievalError, match=r"2 queries to nowhere failed after 3 attempt\(s\) in .*: disk gone"):
        await retriever.search(["q", "r"], 1, attempts)
    assert len(place.asked) == 3
    assert (attempts.failures, attempts.failed, attempts.seconds) == (1, 3, [])


class Clock:
    """Time that passes by sleeping alone."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


class Away:
    """A server that refuses at once until its time has come."""

    name = "away"

    def __init__(self, clock: Clock, until: float) -> None:
        self.clock, self.until = clock, until

    async def search(self, queries: Sequence[str], top_k: int, timeout_s: float) -> list[list[Hit]]:
        if self.clock.now < self.until:
            raise AttemptError("refused")
        return [[hit(query)] for query in queries]

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("servers", [1, 2])
async def test_nobody_gives_up_while_the_deadline_lets_them_wait(servers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One call that fails stops a run, so the unluckiest of many has to come through, and not the average one."""
    monkeypatch.setattr(retriever_module, "FIRST_PAUSE_S", 0.25)
    for _ in range(1000):
        clock = Clock()
        for module in (retriever_module, rotation_module):
            monkeypatch.setattr(module, "time", clock)
        monkeypatch.setattr(retriever_module.asyncio, "sleep", clock.sleep)
        places = [Away(clock, until=100.0) for _ in range(servers)]
        retriever = Retriever(Rotation(places), cached_queries=0, timeout_s=30.0, deadline_s=120.0, retries=None)
        assert await retriever.search(["q"], 1) == [[hit("q")]]
        assert 100 <= clock.now < 120


async def test_retries_without_end_end_with_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    for module in (retriever_module, rotation_module):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(retriever_module.asyncio, "sleep", clock.sleep)
    retriever = Retriever(
        Rotation([Away(clock, until=1e9)]), cached_queries=0, timeout_s=30.0, deadline_s=120.0, retries=None
    )
    with pytest.raises(RetrievalError, match="refused"):
        await retriever.search(["q"], 1)
    assert 119 < clock.now <= 120


async def test_the_deadline_is_the_whole_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    for module in (retriever_module, rotation_module):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(retriever_module.asyncio, "sleep", clock.sleep)
    place = ScriptedPlace(AttemptError("busy", retry_after_s=20.0))
    with pytest.raises(RetrievalError, match="busy"):
        await over(place, retries=1000, deadline_s=50.0).search(["q"], 1)
    assert clock.now < 50
    assert len(place.asked) == 3  # at 0, 20 and 40 s


async def test_one_moments_trouble_is_one_failure_however_many_callers_meet_it() -> None:
    shaky = ScriptedPlace(*[AttemptError("blip")] * 64, 0.0, name="a")
    rotation = Rotation([shaky])
    began = time.monotonic()
    for _ in range(64):
        rotation.failed(shaky, 0.0, began)
    assert rotation._known[0].rests_until - time.monotonic() <= FIRST_REST_S
    rotation.failed(shaky, 0.0, time.monotonic() + 1e-3)
    assert rotation._known[0].rests_until - time.monotonic() > FIRST_REST_S


async def test_what_one_server_will_never_do_another_is_asked_for() -> None:
    gone, sound = ScriptedPlace(AttemptError("status 404", lasting=True), name="a"), ScriptedPlace(0.0, name="b")
    assert await over(gone, sound).search(["q"], 1) == [[hit("q")]]
    other = ScriptedPlace(AttemptError("status 401", lasting=True), name="b")
    with pytest.raises(RetrievalError, match=r"failed after 2 attempt\(s\)"):
        await over(gone, other, retries=100).search(["q"], 1)


async def test_an_index_of_another_corpus_is_refused_at_the_first_search(path: Path) -> None:
    known = describe(path).corpus_hash
    for wanted in ("", known, known[:8]):
        retriever = connect(path, corpus_hash=wanted)
        assert await retriever.search(["w1"], 1)
        await retriever.close()
    other = connect(path, corpus_hash="feed")
    with pytest.raises(RetrievalError, match=r"failed after 1 attempt.*corpus hash .*, not feed: correct one"):
        await other.search(["w1"], 1)
    await other.close()


async def test_a_retry_that_must_wait_past_the_deadline_is_not_waited_for() -> None:
    retriever = over(ScriptedPlace(AttemptError("closed for lunch", retry_after_s=3600.0)))
    started = time.perf_counter()
    with pytest.raises(RetrievalError, match="closed for lunch"):
        await retriever.search(["q"], 1)
    assert time.perf_counter() - started < 60


async def test_another_server_is_asked_at_once_and_the_failed_one_is_left_out() -> None:
    dead, sound = ScriptedPlace(AttemptError("down"), name="a"), ScriptedPlace(0.0, name="b")
    retriever, attempts = over(dead, sound), Attempts()
    for number in range(10):
        await retriever.search([str(number)], 1, attempts)
    assert (len(dead.asked), len(sound.asked)) == (1, 10)
    assert (attempts.failovers, attempts.failed) == (1, 1)


async def test_a_failed_server_is_tried_again_by_one_caller() -> None:
    back, sound = ScriptedPlace(AttemptError("down"), 0.05, name="a"), ScriptedPlace(0.01, name="b")
    retriever = over(back, sound)
    await retriever.search(["q"], 1)
    for known in retriever._rotation._known:
        known.rests_until = min(known.rests_until, time.monotonic())  # as if FIRST_REST_S had passed
    await asyncio.gather(*(retriever.search([str(number)], 1) for number in range(6)))
    assert len(back.asked) == 2
    await asyncio.gather(*(retriever.search([str(number)], 1) for number in range(6)))
    assert len(back.asked) == 5  # sound again: it has its turns
    assert FIRST_REST_S > 0


async def test_a_missing_index_fails_at_once_with_its_reason(tmp_path: Path) -> None:
    retriever = connect(tmp_path / "nowhere", retries=5)
    with pytest.raises(RetrievalError, match=r"failed after 1 attempt\(s\) in .*: there is no index at"):
        await retriever.search(["q"], 1)
    await retriever.close()


async def test_a_wrong_request_is_not_retried(path: Path) -> None:
    retriever = connect(path)
    attempts = Attempts()
    with pytest.raises(ValueError, match="top_k"):
        await retriever.search(["q"], 0, attempts)
    assert attempts == Attempts()
    await retriever.close()


async def test_a_closed_retriever_says_so(path: Path) -> None:
    retriever = connect(path)
    await retriever.close()
    with pytest.raises(RetrievalError, match="is closed"):
        await retriever.search(["q"], 1)


async def test_the_cache_answers_what_it_knows_and_asks_for_the_rest() -> None:
    place = ScriptedPlace(0.0)
    retriever, attempts = over(place, cached=2), Attempts()
    await retriever.search(["a", "b"], 1, attempts)
    found = await retriever.search(["b", "c", "a", "c"], 1, attempts)
    assert found == [[hit(query)] for query in ("b", "c", "a", "c")]
    assert place.asked == [["a", "b"], ["c"]]
    assert (attempts.cache_hits, attempts.queries) == (2, 6)
    found[0].clear()  # what a caller does to its list is its own business
    await retriever.search(["c", "a"], 1)
    assert place.asked == [["a", "b"], ["c"]]
    await retriever.search(["b"], 1)
    assert place.asked[-1] == ["b"]  # used least lately, so it went
    await retriever.search(["a"], 2)
    assert place.asked[-1] == ["a"]  # another number of documents is another question


async def test_a_cache_of_no_size_keeps_nothing() -> None:
    place = ScriptedPlace(0.0)
    retriever = over(place, cached=0)
    for _ in range(2):
        await retriever.search(["a"], 1)
    assert place.asked == [["a"], ["a"]]


async def test_a_failure_is_not_cached() -> None:
    place = ScriptedPlace(AttemptError("down"), 0.0)
    retriever = over(place, retries=0, cached=10)
    with pytest.raises(RetrievalError):
        await retriever.search(["a"], 1)
    assert await retriever.search(["a"], 1) == [[hit("a")]]


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("folder,with,commas", ["folder,with,commas"]),
        ("http://a:1/, http://b:2", ["http://a:1", "http://b:2"]),
        (["http://a:1", "http://b:2", "http://a:1/"], ["http://a:1", "http://b:2"]),
    ],
)
def test_addresses_are_read(address: Any, parts: list[str]) -> None:
    assert parts_of(address) == parts
    assert connect(address).address == ",".join(parts)


@pytest.mark.parametrize(
    ("address", "options", "said"),
    [
        ("ftp://host/index", {}, "a folder, or http://host:port"),
        (["folder", "http://a:1"], {}, "must all begin with http"),
        ("", {}, "no address"),
        ([], {}, "no address"),
        ("index", {"timeout_s": 0}, "timeout_s must be above 0"),
        ("index", {"deadline_s": -1}, "deadline_s must be above 0"),
        ("index", {"retries": -1}, "retries must be at least 0"),
        ("index", {"cached_queries": -1}, "cached_queries must be at least 0"),
    ],
)
def test_addresses_and_numbers_are_checked(address: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        connect(address, **options)
