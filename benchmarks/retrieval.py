"""Measures retrieval on the real OTT-QA documents and writes the tables of benchmarks/retrieval.md.

    python -m benchmarks.retrieval FOLDER_OF_OTTQA [--note "..."]

FOLDER_OF_OTTQA holds all_passages.json, a file of tables and dev.traced.json. Building and opening are measured in
processes of their own, so that their memory is theirs alone. Every rate is the median of three rounds on a warm page
cache, and counts the whole call: query built, index searched, stored texts fetched. Left out: HTTP, and other engines.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from retrieval_index import Document, Index, build_index, open_index
from retrieval_index.backends import backend
from retrieval_index.client import connect
from retrieval_index.corpora import read_ottqa
from retrieval_index.corpora.ottqa import TABLE_MARK
from retrieval_index.english import STOPWORDS

TOP_K = 3
"""What an episode asks for."""

ROUNDS = 3
CALLERS = 64
DEPTHS = (3, 10, 50)
SUBSET_STEP = 10
"""rank-bm25 gets every tenth document: what its limit of 20,000 lets it have."""

SUBSET_QUERIES = 100
RESULT = Path(__file__).with_suffix(".md")

Row = tuple[str, ...]


def private_mb() -> float:
    """Memory of this process that it shares with no other, in MB."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def documents(folder: Path, step: int) -> Iterator[Document]:
    """Every `step`-th document of the corpus."""
    return itertools.islice(read_ottqa(folder), 0, None, step)


def measure_build(folder: Path, path: Path, engine: str, step: int) -> dict[str, float]:
    """Seconds (reading the corpus included), documents, size on disk and the process's peak memory, both in MB."""
    started = time.perf_counter()
    manifest = build_index(documents(folder, step), path, engine)
    return {
        "seconds": time.perf_counter() - started,
        "documents": manifest.documents,
        "disk_mb": sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


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


def latencies(index: Index, queries: Sequence[str]) -> tuple[float, float]:
    """p50 and p99 of single queries one after the other, in ms."""
    times = []
    for query in queries:
        started = time.perf_counter()
        index.search([query], TOP_K)
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times), statistics.quantiles(times, n=100)[98]


def rate(run: Callable[[], object], queries: int) -> float:
    """Queries per second, the median of `ROUNDS`."""
    rates = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        run()
        rates.append(queries / (time.perf_counter() - started))
    return statistics.median(rates)


def threaded(index: Index, queries: Sequence[str], threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda query: index.search([query], TOP_K), queries))


async def through_client(path: Path, queries: Sequence[str], callers: int) -> None:
    """All queries, one a call, from `callers` coroutines over one retriever with its two threads."""
    retriever = connect(path, timeout_s=60, retries=0)
    waiting = iter(queries)

    async def caller() -> None:
        for query in waiting:
            await retriever.search([query], TOP_K)

    await asyncio.gather(*(caller() for _ in range(callers)))
    await retriever.close()


def speed_row(index: Index, path: Path, kind: str, queries: list[str]) -> Row:
    p50, p99 = latencies(index, queries)
    rates = [
        rate(lambda: index.search(queries, TOP_K), len(queries)),
        rate(lambda: threaded(index, queries, 2), len(queries)),
        rate(lambda: asyncio.run(through_client(path, queries, CALLERS)), len(queries)),
    ]
    return (kind, f"{p50:.2f} / {p99:.2f}", *(f"{value:,.0f}" for value in rates))


def recall_rows(index: Index, questions: Sequence[dict[str, Any]]) -> list[Row]:
    """How often the question itself, as a query, finds its table and the passages that hold its answer."""
    found = index.search([question["question"] for question in questions], max(DEPTHS))
    places = [{hit.document.id: rank for rank, hit in enumerate(hits)} for hits in found]
    last = max(DEPTHS)
    table = [ranks.get(question["table_id"], last) for question, ranks in zip(questions, places, strict=True)]
    first: list[int] = []
    each: list[int] = []
    for question, ranks in zip(questions, places, strict=True):
        gold = {node[2] for node in question["answer-node"] if node[3] == "passage"}
        if gold:
            first.append(min(ranks.get(name, last) for name in gold))
            each.extend(ranks.get(name, last) for name in gold)
    measured = {
        f"the gold table ({len(table):,} questions)": table,
        f"a passage with the answer ({len(first):,} questions)": first,
        f"each passage with the answer ({len(each):,} passages)": each,
    }
    return [
        (name, *(f"{sum(rank < depth for rank in ranks) / len(ranks):.3f}" for depth in DEPTHS))
        for name, ranks in measured.items()
    ]


def subset_figures(folder: Path, path: Path, engine: str, queries: list[str]) -> list[float]:
    """Build s, open s, private MB in use, p50 ms, p99 ms, queries per second on one thread."""
    built = in_own_process(measure_build, folder, path, engine, SUBSET_STEP)
    opened = in_own_process(measure_open, path, engine, queries)
    index = open_index(path)
    index.search(queries, TOP_K)
    per_second = rate(lambda: index.search(queries, TOP_K), len(queries))
    return [built["seconds"], opened["seconds"], opened["after_queries_mb"], *latencies(index, queries), per_second]


def subset_rows(folder: Path, place: Path, queries: list[str]) -> list[Row]:
    """Both back ends on the subset, then rank-bm25's figures divided by tantivy's."""
    fast, slow = (subset_figures(folder, place / engine, engine, queries) for engine in ("tantivy", "rank_bm25"))
    ratio = [there / here for here, there in zip(fast, slow, strict=True)]
    named = {"tantivy": fast, "rank_bm25": slow, "ratio": ratio}
    return [
        (name, *(f"{value:,.0f}" if value >= 100 else f"{value:.2g}" for value in row)) for name, row in named.items()
    ]


def machine(note: str) -> str:
    """What the figures were taken on, without anything that names the machine."""
    facts = Path("/proc/cpuinfo").read_text()
    models = [line.split(":")[1].strip() for line in facts.splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = " / ".join(f"{value:.1f}" for value in os.getloadavg())
    versions = ", ".join(f"{name} {version(name)}" for name in ("tantivy", "rank-bm25"))
    return (
        f"{len(os.sched_getaffinity(0))} cores ({models[0] if models else 'unknown'}), {memory:.0f} GiB, "
        f"Python {platform.python_version()}, {versions}. "
        f"Load averages over 1, 5 and 15 minutes at the end of the run: {load}. {note}"
    ).strip()


def markdown(head: Row, rows: Sequence[Row]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def report(folder: Path, place: Path, note: str) -> str:
    questions = json.loads((folder / "dev.traced.json").read_text(encoding="utf-8"))
    asked = [question["question"] for question in questions]
    kinds = {"whole questions": asked, "six content words": [content_words(question) for question in asked]}
    path = place / "all"
    built = in_own_process(measure_build, folder, path, "tantivy", 1)
    opened = in_own_process(measure_open, path, "tantivy", asked[:200])
    index = open_index(path)
    tables = sum(TABLE_MARK in document.text for document in read_ottqa(folder))
    index.search(asked, TOP_K)  # warms the page cache
    speed = [speed_row(index, path, kind, queries) for kind, queries in kinds.items()]
    recall = recall_rows(index, questions)
    subset = subset_rows(folder, place, kinds["whole questions"][:SUBSET_QUERIES])
    build_row = (
        f"{built['seconds']:.1f}",
        f"{built['disk_mb']:.0f}",
        f"{built['peak_mb']:.0f}",
        f"{opened['seconds'] * 1e3:.0f}",
        f"{opened['private_mb']:.1f}",
        f"{opened['after_queries_mb']:.1f}",
    )
    build_head = ("build s", "index MB", "peak MB of the build", "open ms", "private MB added", "after 200 queries MB")
    speed_head = ("queries", "p50 / p99 ms", "1 thread, q/s", "2 threads, q/s", f"client, {CALLERS} callers, q/s")
    subset_head = ("back end", "build s", "open s", "private MB, in use", "p50 ms", "p99 ms", "1 thread, q/s")
    total = int(built["documents"])
    size = len(range(0, total, SUBSET_STEP))
    return f"""# Retrieval on the real OTT-QA documents

Written by `python -m benchmarks.retrieval`. {machine(note)}

## tantivy (default), {total:,} documents: {total - tables:,} passages, {tables:,} tables

{markdown(build_head, [build_row])}

Top {TOP_K}, texts included; {len(asked):,} questions of the dev set.

{markdown(speed_head, speed)}

## Recall, the question itself as the query

{markdown(("found in the top", *map(str, DEPTHS)), recall)}

## rank-bm25 beside it: every {SUBSET_STEP}th document ({size:,}), {SUBSET_QUERIES} questions

{markdown(subset_head, subset)}

The ratio is rank-bm25's figure divided by tantivy's, in the same run.
"""


def main(
    folder: Annotated[Path, typer.Argument(help="OTT-QA's files: passages, tables, dev.traced.json.")],
    note: Annotated[str, typer.Option(help="A remark for the file, such as on what else ran.")] = "",
) -> None:
    """Measure and write benchmarks/retrieval.md."""
    with tempfile.TemporaryDirectory() as place:
        RESULT.write_text(report(folder, Path(place), note), encoding="utf-8")
    sys.stdout.write(RESULT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    typer.run(main)
