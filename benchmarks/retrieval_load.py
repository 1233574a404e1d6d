"""Load an index with concurrent callers, in process and over HTTP, and write benchmarks/retrieval_load.md.

    python -m benchmarks.retrieval_load INDEX FOLDER_OF_OTTQA [--address http://host:8000 ...] [--note "..."]

Callers are coroutines of one process, each asking one query at a time through `retrieval_index.client` without a cache,
the next as soon as the last is answered; they share the cores with what they ask. Services are started for the
measurement and ended after it, unless addresses are given. Queries are the first six content words of OTT-QA's dev
questions. Each line is the median round of three by queries per second.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.retrieval_shared import ROUNDS, TOP_K, Row, content_words, machine, markdown
from retrieval_index import RetrievalError, open_index
from retrieval_index.client import connect
from retrieval_index.client.counters import quantile

CALLERS = (1, 64, 256)
WARM_UP_S = 1.0
RESULT = Path(__file__).with_suffix(".md")


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one round: queries a second, and latencies in ms."""

    rate: float
    p50: float
    p99: float
    errors: int


@contextmanager
def service(index: Path, workers: int, threads: int) -> Iterator[str]:
    """The address of a service that ends with the block."""
    options = ["--port", "0", "--workers", str(workers), "--threads", str(threads)]
    command = [sys.executable, "-m", "retrieval_index", "serve", str(index), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        if found is None:
            raise RuntimeError(f"no service came up: {' '.join(command)}")
        yield found.group()
    finally:
        process.terminate()
        process.wait()


async def one_round(address: str, queries: Sequence[str], callers: int, seconds: float) -> Figures:
    """All callers ask for so many seconds; what is asked last is waited for."""
    retriever = connect(address, cached_queries=0, timeout_s=30, retries=0)
    waiting = itertools.cycle(queries)
    times: list[float] = []
    errors = 0

    async def caller(until: float) -> None:
        nonlocal errors
        while time.perf_counter() < until:
            started = time.perf_counter()
            try:
                await retriever.search([next(waiting)], TOP_K)
            except RetrievalError as error:
                errors += 1
                sys.stderr.write(f"{error}\n")
            times.append(time.perf_counter() - started)

    async def everybody(length: float) -> float:
        times.clear()
        started = time.perf_counter()
        await asyncio.gather(*(caller(started + length) for _ in range(callers)))
        return time.perf_counter() - started

    await everybody(min(WARM_UP_S, seconds))
    took = await everybody(seconds)
    await retriever.close()
    ordered = sorted(times)
    return Figures(len(times) / took, quantile(ordered, 0.5) * 1e3, quantile(ordered, 0.99) * 1e3, errors)


def rows(name: str, address: str, queries: Sequence[str], callers: Sequence[int], seconds: float) -> list[Row]:
    """One line for each number of callers: the median round's figures, and the errors of all rounds."""
    lines: list[Row] = []
    for count in callers:
        rounds = [asyncio.run(one_round(address, queries, count, seconds)) for _ in range(ROUNDS)]
        middle = next(item for item in rounds if item.rate == statistics.median_low(other.rate for other in rounds))
        errors = sum(item.errors for item in rounds)
        line = (name, str(count), f"{middle.rate:,.0f}", f"{middle.p50:,.1f}", f"{middle.p99:,.1f}", str(errors))
        sys.stderr.write("  ".join(line) + "\n")
        lines.append(line)
    return lines


def measured(index: Path, queries: Sequence[str], callers: Sequence[int], seconds: float) -> list[Row]:
    """In process, then one service of one worker, of two, and two services of one each."""
    found = rows("in process, two threads", str(index), queries, callers, seconds)
    for name, shape in {
        "HTTP, one worker of two threads": [(1, 2)],
        "HTTP, two workers of one thread": [(2, 1)],
        "HTTP, two services of one thread each": [(1, 1), (1, 1)],
    }.items():
        with ExitStack() as services:
            addresses = [services.enter_context(service(index, *one)) for one in shape]
            found += rows(name, ",".join(addresses), queries, callers, seconds)
    return found


def main(
    index: Annotated[Path, typer.Argument(help="Folder of an index of OTT-QA's documents.")],
    folder: Annotated[Path, typer.Argument(help="Folder with OTT-QA's dev.traced.json.")],
    address: Annotated[list[str] | None, typer.Option(help="A running service; may be repeated.")] = None,
    callers: Annotated[list[int] | None, typer.Option(help="Callers at once; may be repeated.")] = None,
    seconds: Annotated[float, typer.Option(help="Of one round, after a second of warming up.")] = 4.0,
    note: Annotated[str, typer.Option(help="A remark for the file, such as on what else ran.")] = "",
) -> None:
    """Measure and write benchmarks/retrieval_load.md."""
    questions = json.loads((folder / "dev.traced.json").read_text(encoding="utf-8"))
    queries = [content_words(question["question"]) for question in questions]
    counts = callers or CALLERS
    documents = open_index(index).manifest.documents
    if address:
        found = rows(f"HTTP, {len(address)} given", ",".join(address), queries, counts, seconds)
    else:
        found = measured(index, queries, counts, seconds)
    head = ("asked", "callers", "queries a second", "p50 ms", "p99 ms", "errors")
    RESULT.write_text(
        f"""# Retrieval under load

Written by `python -m benchmarks.retrieval_load`. {machine(note)}

{documents:,} documents, six-word queries, top {TOP_K}, texts included, one query a request, no cache; {ROUNDS} rounds
of {seconds:g} s each, the median one shown, errors summed. The callers are coroutines of one process on the same cores.

{markdown(head, found)}
""",
        encoding="utf-8",
    )
    sys.stdout.write(RESULT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    typer.run(main)
