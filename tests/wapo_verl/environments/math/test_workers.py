"""The verifier's processes, real ones: hanging, killed, starved, orphaned. No GPU, no veRL."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from wapo_verl.environments.math import verifier as math_verifier
from wapo_verl.environments.math import workers as math_workers
from wapo_verl.environments.math.equivalence import DIFFERENT, EQUAL, UNPARSED
from wapo_verl.environments.math.workers import TIMED_OUT, WORKER_DIED, Worker, WorkerError, WorkerLimits, WorkerPool

GOLD, RIGHT, WRONG = r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}", r"\frac{1}{\sqrt{5}}"
HANGING = "9^{9^{9^{9}}}"
PATIENCE = 60.0  # seconds; a busy machine must not turn a right test red


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    found = WorkerPool(WorkerLimits(workers=1, seconds=1, megabytes=600))
    yield found
    found.close()


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children() if lives(child.pid)}


def lives(pid: int) -> bool:
    """Whether there is a process that has not ended."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def the_worker(pool: WorkerPool) -> Worker:
    """The one worker, started if need be."""
    assert pool.ask(GOLD, RIGHT) == EQUAL
    worker = pool._slots.queue[-1]
    assert worker is not None
    return worker


def worker_of(pool: WorkerPool) -> int:
    """Its process id."""
    return the_worker(pool).process.pid


def wait_until(condition: object) -> None:
    assert callable(condition)
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_worker_gives_the_verdicts_of_the_comparison(pool: WorkerPool) -> None:
    verdicts = [pool.ask(GOLD, answer) for answer in (RIGHT, WRONG, "\\frac{", "\u0665")]
    assert verdicts == [EQUAL, DIFFERENT, UNPARSED, UNPARSED]
    assert worker_of(pool) == worker_of(pool)


async def test_a_hanging_answer_is_cut_off_while_the_event_loop_runs_on(
    pool: WorkerPool, caplog: pytest.LogCaptureFixture
) -> None:
    before = the_worker(pool)
    asked = asyncio.create_task(asyncio.to_thread(pool.ask, GOLD, HANGING))
    ticks = 0
    while not asked.done():
        await asyncio.sleep(0.02)
        ticks += 1
    assert await asked == TIMED_OUT
    assert ticks > 10
    assert HANGING in caplog.text
    # The kernel's CPU time limit, or on a starved machine the wall clock's.
    assert before.process.returncode in (-signal.SIGPROF, -signal.SIGKILL)
    assert not before.alive
    assert worker_of(pool) != before.process.pid


def test_an_idle_worker_that_was_killed_is_replaced(pool: WorkerPool) -> None:
    before = worker_of(pool)
    os.kill(before, signal.SIGKILL)
    assert worker_of(pool) != before


def test_a_worker_killed_over_an_answer_costs_a_second_try_and_no_answer(pool: WorkerPool) -> None:
    before = worker_of(pool)
    os.kill(before, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(pool.ask, GOLD, RIGHT)
        wait_until(pool._slots.empty)
        time.sleep(0.2)  # the question is written next, and it is short
        os.kill(before, signal.SIGKILL)
        assert asked.result(PATIENCE) == EQUAL
    assert worker_of(pool) != before


def test_an_answer_whose_workers_die_twice_is_given_up(pool: WorkerPool, caplog: pytest.LogCaptureFixture) -> None:
    before = worker_of(pool)
    others = children() - {before}
    os.kill(before, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(pool.ask, GOLD, RIGHT)
        wait_until(pool._slots.empty)
        time.sleep(0.2)  # the question is written next, and it is short
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: children() - others - {before})
        for fresh in children() - others - {before}:
            os.kill(fresh, signal.SIGKILL)
        assert asked.result(PATIENCE) == WORKER_DIED
    assert "worker_died" in caplog.text
    assert pool.ask(GOLD, RIGHT) == EQUAL


def test_a_worker_has_its_memory_limit(pool: WorkerPool) -> None:
    assert psutil.Process(worker_of(pool)).rlimit(psutil.RLIMIT_AS) == (600 << 20, 600 << 20)


def test_many_threads_share_few_workers() -> None:
    before = children()
    pool = WorkerPool(WorkerLimits(workers=2))
    seen: set[int] = set()
    try:
        with ThreadPoolExecutor(8) as threads:
            asked = [threads.submit(pool.ask, GOLD, RIGHT if place % 2 else WRONG) for place in range(24)]
            while not all(verdict.done() for verdict in asked):
                seen |= children() - before
                time.sleep(0.01)
        assert [verdict.result() for verdict in asked] == [DIFFERENT, EQUAL] * 12
        assert len(seen) <= 2
    finally:
        pool.close()
    assert not children() - before
    with pytest.raises(WorkerError, match="has been closed"):
        pool.ask(GOLD, RIGHT)


PARENT = """
import sys, threading, time
from wapo_verl.environments.math.workers import WorkerLimits, WorkerPool
pool = WorkerPool(WorkerLimits(workers=1, seconds=1))
pool.ask(sys.argv[1], sys.argv[2])
threading.Thread(target=pool.ask, args=(sys.argv[1], sys.argv[3]), daemon=True).start()
time.sleep(0.2)
print("asked", flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize("answer", [WRONG, HANGING], ids=["idle", "hanging"])
def test_no_worker_outlives_a_parent_that_was_killed(answer: str) -> None:
    command = [sys.executable, "-c", PARENT, GOLD, RIGHT, answer]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ}) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == "asked\n"
        workers = [child.pid for child in psutil.Process(parent.pid).children()]
        assert len(workers) == 1
        parent.kill()
    wait_until(lambda: not lives(workers[0]))


def test_a_worker_that_cannot_start_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(math_workers, "_START", "raise SystemExit(3)")
    with pytest.raises(WorkerError, match="ended at its start with status 3"):
        WorkerPool(WorkerLimits(workers=1)).ask(GOLD, RIGHT)


@pytest.mark.parametrize(("name", "value"), [("workers", 0), ("seconds", -1.0), ("megabytes", 100)])
def test_limits_that_cannot_be_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"verifier's {name} must be"):
        WorkerLimits(**{name: value})


def test_the_process_has_one_pool_and_a_forked_one_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = math_workers.pool()
    assert math_workers.pool() is ours
    assert math_workers.pool(ours.limits) is ours
    other = math_workers.pool(WorkerLimits(workers=ours.limits.workers + 1))
    assert other is not ours
    monkeypatch.setattr(math_workers.os, "getpid", lambda: -1)
    assert math_workers.pool() is not other


def test_a_verdict_is_remembered_and_text_needs_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Counting:
        def ask(self, gold: str, answer: str) -> str:
            asked.append(answer)
            return WORKER_DIED if answer == "0" else EQUAL

    monkeypatch.setattr(math_verifier, "pool", Counting)
    assert math_verifier.verify("1/2", "0.5") == EQUAL
    assert math_verifier.verify("(1,2)", "(2,1)") == DIFFERENT
    assert math_verifier.verify("x^2 y", "y x^{2}") == EQUAL
    assert math_verifier.verify(r"\frac{\sqrt3}{3}", r"\frac{\sqrt5}{3}") == DIFFERENT
    assert not asked
    for _ in range(2):
        assert math_verifier.verify(r"\int_0^1 x\,dx", "1/2") == EQUAL
        assert math_verifier.verify(r"\int_0^1 x\,dx", "0") == WORKER_DIED
    assert asked == ["1/2", "0", "0"]
    with pytest.raises(ValueError, match="match 'loose' is unknown"):
        math_verifier.verify("1", "1", "loose")


def test_threads_that_ask_first_share_one_pool() -> None:
    found: list[WorkerPool] = []
    threads = [threading.Thread(target=lambda: found.append(math_workers.pool())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1
