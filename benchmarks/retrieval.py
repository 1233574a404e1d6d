"""Measures every retrieval back end on the real OTT-QA documents and writes the tables of benchmarks/retrieval.md.

    python -m benchmarks.retrieval FOLDER_OF_OTTQA [--opensearch http://host:9200] [--note "..."]

FOLDER_OF_OTTQA holds all_passages.json, a file of tables and dev.traced.json. Back ends whose packages are missing are
left out and named, and so is OpenSearch without an address. Building and opening are measured in processes of their
own, so that their memory is theirs alone. Rates are medians of three rounds on a warm page cache, and count the whole
call: query built, index searched, stored texts fetched. Callers at once: `benchmarks.retrieval_load`.
"""

from __future__ import annotations

import itertools
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.exact_bm25 import EXACT, ExactBM25, agreement
from benchmarks.retrieval_load import CALLERS, rows, service
from benchmarks.retrieval_shared import (
    TOP_K,
    Row,
    content_words,
    in_own_process,
    latencies,
    machine,
    markdown,
    measure_open,
    rate,
    threaded,
)
from retrieval_index import Document, Index, build_index, open_index
from retrieval_index.backends import backend, backend_names
from retrieval_index.corpora import read_ottqa
from retrieval_index.corpora.ottqa import TABLE_MARK

DEFAULT, TOY = "tantivy", "rank_bm25"
DEPTHS = (1, 3, 10, 50)
SUBSET_STEP = 10
"""rank-bm25 gets every tenth document: what its limit of 20,000 lets it have."""

SUBSET_QUERIES = 100
LOAD_SECONDS = 2.0
RESULT = Path(__file__).with_suffix(".md")


@dataclass
class Tables:
    """The rows of the page's tables, filled back end by back end."""

    build: list[Row] = field(default_factory=list)
    speed: list[Row] = field(default_factory=list)
    load: list[Row] = field(default_factory=list)
    recall: list[Row] = field(default_factory=list)
    agreement: list[Row] = field(default_factory=list)


def documents(folder: Path, step: int) -> Iterator[Document]:
    """Every `step`-th document of the corpus."""
    return itertools.islice(read_ottqa(folder), 0, None, step)


def measure_build(
    folder: Path, path: Path, engine: str, step: int, parameters: dict[str, Any] | None = None
) -> dict[str, float]:
    """Seconds (reading the corpus included), documents, size on disk and the process's peak memory, both in MB."""
    started = time.perf_counter()
    manifest = build_index(documents(folder, step), path, engine, **(parameters or {}))
    return {
        "seconds": time.perf_counter() - started,
        "documents": manifest.documents,
        "disk_mb": sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def build_row(engine: str, built: dict[str, float], opened: dict[str, float]) -> Row:
    return (
        engine,
        f"{built['seconds']:.1f}",
        f"{built['disk_mb']:.0f}",
        f"{built['peak_mb']:.0f}",
        f"{opened['seconds'] * 1e3:.0f}",
        f"{opened['private_mb']:.1f}",
        f"{opened['after_queries_mb']:.1f}",
    )


def speed_row(engine: str, index: Index, kind: str, queries: list[str]) -> Row:
    p50, p99 = latencies(index, queries)
    rates = [
        rate(lambda: index.search(queries, TOP_K), len(queries)),
        rate(lambda: threaded(index, queries, 2), len(queries)),
    ]
    return (engine, kind, f"{p50:.2f} / {p99:.2f}", *(f"{value:,.0f}" for value in rates))


def load_rows(engine: str, path: Path, queries: Sequence[str]) -> list[Row]:
    """Callers at once, in process and over HTTP."""
    found = rows(f"{engine}, in process", str(path), queries, CALLERS, LOAD_SECONDS)
    with service(path, workers=1, threads=2) as address:
        return found + rows(f"{engine}, HTTP", address, queries, CALLERS, LOAD_SECONDS)


def recall_rows(engine: str, index: Index, questions: Sequence[dict[str, Any]]) -> list[Row]:
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
        (engine, name, *(f"{sum(rank < depth for rank in ranks) / len(ranks):.3f}" for depth in DEPTHS))
        for name, ranks in measured.items()
    ]


def agreement_row(engine: str, index: Index, folder: Path, queries: Sequence[str]) -> Row:
    """How much of the exact top ten the back end finds, with this index's k1 and b."""
    k1, b = (float(index.manifest.parameters[name]) for name in ("k1", "b"))
    exact = ExactBM25(read_ottqa(folder), k1, b)
    return (engine, f"{k1:g}", f"{b:g}", f"{agreement(index, exact, queries):.4f}")


def measure(engine: str, folder: Path, path: Path, parameters: dict[str, Any], tables: Tables) -> int:
    """Fill `tables` with a back end's rows; returns the number of documents."""
    questions = json.loads((folder / "dev.traced.json").read_text(encoding="utf-8"))
    asked = [question["question"] for question in questions]
    kinds = {"whole questions": asked, "six content words": [content_words(question) for question in asked]}
    built = in_own_process(measure_build, folder, path, engine, 1, parameters)
    tables.build.append(build_row(engine, built, in_own_process(measure_open, path, engine, asked[:200])))
    index = open_index(path)
    index.search(asked, TOP_K)  # warms the page cache, and Java's compiler
    tables.speed += [speed_row(engine, index, kind, queries) for kind, queries in kinds.items()]
    tables.load += load_rows(engine, path, kinds["six content words"])
    tables.recall += recall_rows(engine, index, questions)
    if engine in EXACT:
        tables.agreement.append(agreement_row(engine, index, folder, asked))
    return int(built["documents"])


def subset_figures(folder: Path, path: Path, engine: str, queries: list[str]) -> list[float]:
    """Build s, open s, private MB in use, p50 ms, p99 ms, queries per second on one thread."""
    built = in_own_process(measure_build, folder, path, engine, SUBSET_STEP)
    opened = in_own_process(measure_open, path, engine, queries)
    index = open_index(path)
    index.search(queries, TOP_K)
    per_second = rate(lambda: index.search(queries, TOP_K), len(queries))
    return [built["seconds"], opened["seconds"], opened["after_queries_mb"], *latencies(index, queries), per_second]


def subset_rows(folder: Path, place: Path) -> list[Row]:
    """The default and rank-bm25 on the subset, then rank-bm25's figures divided by the default's."""
    questions = json.loads((folder / "dev.traced.json").read_text(encoding="utf-8"))
    queries = [question["question"] for question in questions[:SUBSET_QUERIES]]
    fast, slow = (subset_figures(folder, place / f"{engine}-subset", engine, queries) for engine in (DEFAULT, TOY))
    ratio = [there / here for here, there in zip(fast, slow, strict=True)]
    named = {DEFAULT: fast, TOY: slow, "ratio": ratio}
    return [
        (name, *(f"{value:,.0f}" if value >= 100 else f"{value:.2g}" for value in row)) for name, row in named.items()
    ]


def chosen(opensearch: str | None) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The back ends to measure, each with its parameters, and a sentence for each that is left out."""
    found: dict[str, dict[str, Any]] = {}
    left_out = []
    for name in sorted(backend_names(), key=lambda name: (name != DEFAULT, name)):
        if name == TOY:
            continue
        try:
            backend(name)
        except ValueError as error:
            left_out.append(f"{name} was left out: {error}.")
            continue
        if name != "opensearch":
            found[name] = {}
        elif opensearch is None:
            left_out.append("opensearch was left out: no server was given.")
        else:
            found[name] = {"hosts": opensearch, "index": "benchmark"}
    return found, left_out


def report(tables: Tables, subset: Sequence[Row], total: int, table_count: int, conditions: str) -> str:
    build_head = (
        "back end",
        "build s",
        "index MB",
        "peak MB of the build",
        "open ms",
        "private MB added",
        "after 200 queries MB",
    )
    speed_head = ("back end", "queries", "p50 / p99 ms", "1 thread, q/s", "2 threads, q/s")
    load_head = ("asked", "callers", "q/s", "p50 ms", "p99 ms", "errors")
    subset_head = ("back end", "build s", "open s", "private MB, in use", "p50 ms", "p99 ms", "1 thread, q/s")
    size = len(range(0, total, SUBSET_STEP))
    return f"""# Retrieval on the real OTT-QA documents

Written by `python -m benchmarks.retrieval`. {conditions}

## {total:,} documents: {total - table_count:,} passages, {table_count:,} tables

{markdown(build_head, tables.build)}

Lucene's time to open has the start of Java in it.

## In process, top {TOP_K}, texts included; 1,500 questions of the dev set

{markdown(speed_head, tables.speed)}

## Callers at once, six content words, one query a request, no cache

Callers are coroutines of one process on the same cores as what they ask, through this package's client; over HTTP one
service of one worker with two threads. Median of three rounds of {LOAD_SECONDS:g} s; errors of all rounds.

{markdown(load_head, tables.load)}

## Recall, the question itself as the query

{markdown(("back end", "found in the top", *map(str, DEPTHS)), tables.recall)}

## Agreement with exact BM25

Share of the ten best documents by BM25 in 64-bit floats (`benchmarks/exact_bm25.py`, over the same terms)
that are among the back end's ten best; mean over the questions.

{markdown(("back end", "k1", "b", "agreement"), tables.agreement)}

## rank-bm25 beside the default: every {SUBSET_STEP}th document ({size:,}), {SUBSET_QUERIES} questions

{markdown(subset_head, subset)}

The ratio is rank-bm25's figure divided by {DEFAULT}'s, in the same run.
"""


def main(
    folder: Annotated[Path, typer.Argument(help="OTT-QA's files: passages, tables, dev.traced.json.")],
    opensearch: Annotated[str | None, typer.Option(help="Address of a server to measure, too.")] = None,
    note: Annotated[str, typer.Option(help="A remark for the file, such as on what else ran.")] = "",
) -> None:
    """Measure and write benchmarks/retrieval.md."""
    engines, left_out = chosen(opensearch)
    table_count = sum(TABLE_MARK in document.text for document in read_ottqa(folder))
    tables, total = Tables(), 0
    with tempfile.TemporaryDirectory() as place:
        for engine, parameters in engines.items():
            sys.stderr.write(f"{engine}\n")
            total = measure(engine, folder, Path(place) / engine, parameters, tables)
        subset = subset_rows(folder, Path(place))
    packages = [backend(name).distribution for name in (*engines, TOY)]
    conditions = " ".join([machine(note, packages), *left_out])
    RESULT.write_text(report(tables, subset, total, table_count, conditions), encoding="utf-8")
    sys.stdout.write(RESULT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    typer.run(main)
