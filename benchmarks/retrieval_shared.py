"""What the measurements of retrieval share: queries, rates, memory, and how a table and a machine are written down."""

from __future__ import annotations

import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from retrieval_index import Index, open_index
from retrieval_index.backends import backend
from retrieval_index.backends.analysis import STOPWORDS

TOP_K = 3
"""What an episode asks for."""

ROUNDS = 3

Row = tuple[str, ...]


def private_mb() -> float:
    """Memory of this process that it shares with no other, in MB."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def _answer(queue: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    queue.put(function(*arguments))


def in_own_process(function: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    """The result of `function(*arguments)` in a fresh process."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_answer, args=(queue, function, arguments))
    process.start()
    result: dict[str, float] = queue.get(timeout=900)
    process.join()
    return result


def content_words(question: str, count: int = 6) -> str:
    """The first `count` content words: about what a policy that has learned to search asks."""
    words = [word for word in question.split() if word.isalnum() and word.lower() not in STOPWORDS]
    return " ".join(words[:count])


def rate(run: Callable[[], object], queries: int) -> float:
    """Queries per second, the median of `ROUNDS`."""
    rates = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        run()
        rates.append(queries / (time.perf_counter() - started))
    return statistics.median(rates)


def machine(note: str, packages: Sequence[str] = ("tantivy",)) -> str:
    """What the figures were taken on, without anything that names the machine."""
    facts = Path("/proc/cpuinfo").read_text()
    models = [line.split(":")[1].strip() for line in facts.splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = " / ".join(f"{value:.1f}" for value in os.getloadavg())
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"{len(os.sched_getaffinity(0))} cores ({models[0] if models else 'unknown'}), {memory:.0f} GiB, "
        f"Python {platform.python_version()}, {versions}. "
        f"Load averages over 1, 5 and 15 minutes at the end of the run: {load}. {note}"
    ).strip()


def measure_open(path: Path, engine: str, queries: Sequence[str]) -> dict[str, float]:
    """Seconds to open, and the private memory that opening, then `queries`, add to a process that has the engine."""
    backend(engine)
    before = private_mb()
    started = time.perf_counter()
    index = open_index(path)
    seconds = time.perf_counter() - started
    opened = private_mb()
    index.search(queries, TOP_K)
    return {"seconds": seconds, "private_mb": opened - before, "after_queries_mb": private_mb() - before}


def latencies(index: Index, queries: Sequence[str]) -> tuple[float, float]:
    """p50 and p99 of single queries one after the other, in ms."""
    times = []
    for query in queries:
        started = time.perf_counter()
        index.search([query], TOP_K)
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times), statistics.quantiles(times, n=100)[98]


def threaded(index: Index, queries: Sequence[str], threads: int) -> None:
    """Search for every query, one a call, from so many threads."""
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda query: index.search([query], TOP_K), queries))


def markdown(head: Row, rows: Sequence[Row]) -> str:
    """A table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
