"""Build an index of five million synthetic documents, kill the build on the way, resume it, and measure all of it.

    python -m benchmarks.build_scale run PLACE [--documents 5000000] [--ottqa FOLDER] [--note "..."]

writes benchmarks/build_scale.md. PLACE is a folder on a disk with about 5 GB free; what is built there is removed at
the end. The build is a process of its own, so that its time and memory are its alone. Documents are generated as a
stream: 46 words each, drawn by Zipf's law from a vocabulary of 500,000. With `--ottqa` the opening of an index of the
real OTT-QA documents is measured too. Other engines, and real text of this size, are not.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.retrieval_shared import in_own_process, latencies, machine, markdown, measure_open, rate, threaded
from retrieval_index import Document, build_index, open_index
from retrieval_index.backends import tantivy
from retrieval_index.build.half_built import HalfBuilt
from retrieval_index.corpora import read_ottqa

WORDS = 46
TITLE_WORDS = 2
VOCABULARY = 500_000
COMMON = 200
"""The commonest words stand for stopwords: they are in the documents and not in the queries."""

QUERY_WORDS = 6
QUERIES = 1000
CHUNK = 1000
REPORT_EVERY = 50_000
KILL_AT = 0.6
MAX_OPEN_S = 0.1
MAX_PRIVATE_MB = 50.0
RESULT = Path(__file__).with_suffix(".md")

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Zipfian:
    """`documents` documents, the same ones at every pass. The word of rank r is drawn with probability ~ 1 / r."""

    documents: int
    seed: int = 7

    @cached_property
    def words(self) -> list[str]:
        """Pronounceable words, one a rank, so that the analyser has something to do."""
        onsets, vowels = "bcdfghjklmnprstvwz", "aeiou"
        syllables = [onset + vowel for onset in onsets for vowel in vowels]
        base = len(syllables)
        return [
            syllables[rank % base] + syllables[rank // base % base] + syllables[rank // base**2 % base]
            for rank in range(VOCABULARY)
        ]

    @cached_property
    def cumulative(self) -> np.ndarray:
        weights = 1.0 / np.arange(1, VOCABULARY + 1)
        return np.cumsum(weights / weights.sum())

    def ranks(self, chunk: int) -> np.ndarray:
        """The words' ranks of one chunk of documents, (CHUNK, WORDS)."""
        drawn = np.random.default_rng((self.seed, chunk)).random((CHUNK, WORDS))
        return np.minimum(np.searchsorted(self.cumulative, drawn), VOCABULARY - 1)

    def __iter__(self) -> Iterator[Document]:
        words = self.words
        for number in range(self.documents):
            if number % CHUNK == 0:
                rows = self.ranks(number // CHUNK).tolist()
            text = [words[rank] for rank in rows[number % CHUNK]]
            yield Document(f"doc-{number}", " ".join(text[:TITLE_WORDS]), " ".join(text[TITLE_WORDS:]))

    def queries(self) -> list[str]:
        """Six words of a document each, the commonest left out."""
        found = []
        for row in self.ranks(self.documents // CHUNK // 2):
            rare = [self.words[rank] for rank in dict.fromkeys(row.tolist()) if rank >= COMMON]
            found.append(" ".join(rare[:QUERY_WORDS]))
        return found[:QUERIES]


@app.command()
def build(path: Path, documents: int) -> None:
    """Build, or go on building; a line "count" on stdout every `REPORT_EVERY` documents. Used by `run`."""

    def tell(count: int) -> None:
        if count % REPORT_EVERY == 0:
            print(count, flush=True)

    corpus = Zipfian(documents)
    manifest = build_index(
        corpus, path, source={"corpus": "zipfian", "documents": str(documents)}, progress=tell, notice=_to_stderr
    )
    print(manifest.corpus_hash, flush=True)


def _to_stderr(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


@dataclass
class Part:
    """One process: what it was seen to do and what the kernel says that it took."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    own_mb: float
    counts: list[tuple[float, int]]
    last: str

    def at(self, count: int) -> float:
        """Seconds after the start at which `count` documents had passed."""
        return next((seconds for seconds, passed in self.counts if passed >= count), self.seconds)


class OwnMemory(threading.Thread):
    """The most memory of a process's own that was seen while it ran: its resident set without mapped files."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.most_mb, self.ended = pid, 0.0, threading.Event()

    def run(self) -> None:
        """Look ten times a second, until `ended` is set or the process has no memory any more."""
        while not self.ended.wait(0.1):
            found = re.search(r"^RssAnon:\s+(\d+) kB$", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)
            if found is None:
                return
            self.most_mb = max(self.most_mb, int(found[1]) / 1024)


def run_part(path: Path, documents: int, kill_at: int | None) -> Part:
    """Build in a process of its own; with `kill_at`, kill it (SIGKILL) once so many documents have passed."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.build_scale", "build", str(path), str(documents)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    memory = OwnMemory(process.pid)
    memory.start()
    counts: list[tuple[float, int]] = []
    last = ""
    assert process.stdout is not None
    for line in process.stdout:
        last = line.strip()
        if last.isdigit():
            counts.append((time.perf_counter() - started, int(last)))
            _to_stderr(f"{counts[-1][1]:,} documents after {counts[-1][0]:.0f} s")
            if kill_at is not None and int(last) >= kill_at:
                process.send_signal(signal.SIGKILL)
                break
    memory.ended.set()
    memory.join()  # before the process is waited for, while its entry in /proc is there
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != (0 if kill_at is None else -signal.SIGKILL):
        raise SystemExit(f"the build ended with status {process.returncode}: see its message above")
    seconds = time.perf_counter() - started
    return Part(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, memory.most_mb, counts, last)


def build_ottqa(folder: Path, path: Path) -> dict[str, float]:
    """Build the index of the real documents; the number of them."""
    return {"documents": build_index(read_ottqa(folder), path).documents}


def opening_row(name: str, path: Path, queries: list[str]) -> tuple[str, ...]:
    opened = in_own_process(measure_open, path, "tantivy", queries)
    holds = opened["seconds"] < MAX_OPEN_S and opened["private_mb"] < MAX_PRIVATE_MB
    return (
        name,
        f"{opened['seconds'] * 1e3:.0f}",
        f"{opened['private_mb']:.1f}",
        f"{opened['after_queries_mb']:.1f}",
        "yes" if holds else "NO",
    )


def megabytes(path: Path) -> float:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6


@dataclass(frozen=True)
class Measured:
    """What was measured of one index.

    Attributes:
        documents: how many it has.
        kill_at: after how many its build was killed.
        first: the process that was killed.
        half_mb: what lay on the disk then.
        safe: documents after which the second process resumed.
        second: the process that completed the build.
        opening: a row for each index that was opened.
        queries: how many were asked.
        speed: a row of answering them.
        size_mb: of the finished index.
    """

    documents: int
    kill_at: int
    first: Part
    half_mb: float
    safe: int
    second: Part
    opening: list[tuple[str, ...]]
    queries: int
    speed: tuple[str, ...]
    size_mb: float


@app.command()
def run(
    place: Annotated[Path, typer.Argument(help="Folder to build in; it is removed at the end.")],
    documents: Annotated[int, typer.Option(help="How many.")] = 5_000_000,
    ottqa: Annotated[Path | None, typer.Option(help="OTT-QA's files, to measure the opening of a real index.")] = None,
    note: Annotated[str, typer.Option(help="A remark for the file, such as on what else ran.")] = "",
) -> None:
    """Measure and write benchmarks/build_scale.md."""
    text = report(measure(place, documents, ottqa), note)
    RESULT.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    shutil.rmtree(place)


def measure(place: Path, documents: int, ottqa: Path | None) -> Measured:
    """Build, kill, resume, open and search."""
    path = place / "index"
    kill_at = int(documents * KILL_AT)
    first = run_part(path, documents, kill_at)
    half_mb = megabytes(place)
    safe = HalfBuilt(path).safe(tantivy.BACKEND)
    second = run_part(path, documents, None)
    queries = Zipfian(documents).queries()
    opening = [opening_row(f"{documents:,} synthetic", path, queries[:200])]
    speed = search_speed(path, queries)
    size_mb = megabytes(path)
    if ottqa is not None:
        real = place / "ottqa"
        built = in_own_process(build_ottqa, ottqa, real)
        opening.append(opening_row(f"{int(built['documents']):,} of OTT-QA", real, queries[:200]))
    return Measured(documents, kill_at, first, half_mb, safe, second, opening, len(queries), speed, size_mb)


def search_speed(path: Path, queries: list[str]) -> tuple[str, ...]:
    """Time an index's answers, with one thread and with two."""
    index = open_index(path)
    index.search(queries, 3)  # warms the page cache
    p50, p99 = latencies(index, queries)
    return (
        f"{p50:.2f} / {p99:.2f}",
        f"{rate(lambda: index.search(queries, 3), len(queries)):,.0f}",
        f"{rate(lambda: threaded(index, queries, 2), len(queries)):,.0f}",
    )


def process_row(what: str, part: Part) -> tuple[str, ...]:
    return (
        what,
        f"{part.seconds:,.0f}",
        f"{part.cpu_seconds:,.0f}",
        f"{part.peak_mb:,.0f}",
        f"{part.own_mb:,.0f}",
    )


def report(found: Measured, note: str) -> str:
    """Write the page."""
    documents, kill_at, safe, first, second = found.documents, found.kill_at, found.safe, found.first, found.second
    resumed, rest = second.at(safe), second.seconds - second.at(safe)
    whole = first.at(safe) + rest
    processes = [process_row("until the kill", first), process_row("going on to the end", second)]
    return f"""# A build of {documents:,} documents, killed on the way

Written by `python -m benchmarks.build_scale run`. {machine(note)}

tantivy, one indexing thread, 128 MB buffer, a commit every {tantivy.COMMIT_EVERY:,} documents; {WORDS} words a document
({TITLE_WORDS} of them the title), Zipfian vocabulary of {
        VOCABULARY:,}; generating the documents is part of the times. The first process was killed (SIGKILL) when
it had taken {kill_at:,} documents; the second one went on. Peak memory is the process's resident set, which counts the
pages of the index that it has mapped, and that the system takes back when it needs them; memory of its own is the
rest. A private page here may be one of the index that no other process has mapped.

{markdown(("process", "wall s", "CPU s", "peak MB", "of its own MB"), processes)}

- Until the kill {kill_at / first.at(kill_at):,.0f} documents a second were indexed. {
        found.half_mb:,.0f} MB lay on the disk.
- The second process had the first {safe:,} documents read again, not indexed again, after {resumed:,.0f} s
  ({safe / resumed:,.0f} a second), and indexed the rest in {rest:,.0f} s
  ({(documents - safe) / rest:,.0f} a second, merging to the end included).
- Without the kill that is {documents / whole:,.0f} documents a second,
  {whole:,.0f} s in all.
- The index has {found.size_mb:,.0f} MB with the texts, {
        found.size_mb * 1e6 / documents:,.0f} bytes a document. Corpus hash `{second.last}`.

## Opening it, in a fresh process

{markdown(("documents", "open ms", "private MB added", "after 200 queries MB", "under 0.1 s and 50 MB"), found.opening)}

## Searching it: {found.queries:,} queries of {QUERY_WORDS} words, top 3, texts included, page cache warm

{markdown(("p50 / p99 ms", "1 thread, q/s", "2 threads, q/s"), [found.speed])}
"""


if __name__ == "__main__":
    app()
