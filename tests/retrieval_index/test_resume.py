"""Builds that are killed, doubled, starved of disk or given broken rows, for real. Needs no veRL and no GPU."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retrieval_index import (
    CorpusError,
    Document,
    Index,
    IndexStateError,
    Manifest,
    RetrievalError,
    build_index,
    open_index,
)
from retrieval_index.backends import tantivy
from retrieval_index.build import half_built
from retrieval_index.build.half_built import HalfBuilt, Recipe
from retrieval_index.cli.app import app

EVERY = 1000
SOURCE = {"corpus": "test", "sha256": "1"}
QUERIES = ["granite", "quarry slate", "w17 granite", "w3990", "w12 w13 w14 w15", "title 77"]

BUILDER = f"""
import json, sys, time
from retrieval_index import Document, build_index
from retrieval_index.build import half_built
from retrieval_index.backends import tantivy
tantivy.COMMIT_EVERY = half_built.CHECK_EVERY = {EVERY}
path, count, stop = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def progress(done):
    if done == stop:
        print(done, flush=True)
        time.sleep(600)
def documents():
    for n in range(count):
        yield Document(str(n), f"Title {{n % 99}}", f"granite {{'slate quarry ' * (n % 7)}} w{{n % 40}} w{{n}}")
build_index(documents(), path, source={SOURCE!r}, progress=progress, overwrite=True)
"""
"""A process that builds and hangs at its document `stop`, until it is killed."""


class Corpus(Sequence[Document]):
    """The documents that `BUILDER` indexes; `changed` ones have another text."""

    def __init__(self, count: int = 4000, changed: int = -1) -> None:
        self._count = count
        self._changed = changed

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Document:
        if number >= self._count:
            raise IndexError
        text = f"granite {'slate quarry ' * (number % 7)} w{number % 40} w{number}"
        return Document(str(number), f"Title {number % 99}", "changed" if number == self._changed else text)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tantivy, "COMMIT_EVERY", EVERY)
    monkeypatch.setattr(half_built, "CHECK_EVERY", EVERY)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """An index that nothing interrupted."""
    path = tmp_path_factory.mktemp("whole") / "index"
    build_index(Corpus(), path, source=SOURCE)
    return open_index(path)


def hanging_builder(path: Path, stop: int) -> subprocess.Popen[str]:
    """A builder that has come to its document `stop`."""
    command = [sys.executable, "-c", BUILDER, str(path), "4000", str(stop)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == f"{stop}\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert process.stdout is not None
    process.stdout.close()


def interrupt(path: Path, documents: Sequence[Document], at: int, **arguments: object) -> None:
    """Leave a half-built index behind."""

    def progress(count: int) -> None:
        if count == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as raised:
        build_index(documents, path, progress=progress, **arguments)
    safe = (at - 1) // EVERY * EVERY
    assert f"{safe:,} documents are safe" in raised.value.__notes__[0]


def assert_same(path: Path, whole: Index) -> None:
    """Searches, with their scores and ties, documents and corpus hash are those of the uninterrupted index."""
    index = open_index(path)
    assert index.manifest.corpus_hash == whole.manifest.corpus_hash
    assert index.manifest.documents == whole.manifest.documents
    assert index.search(QUERIES, 50) == whole.search(QUERIES, 50)
    assert [child.name for child in path.parent.iterdir()] == ["index"]


def test_a_build_killed_twice_ends_as_one_that_was_not(tmp_path: Path, whole: Index) -> None:
    path = tmp_path / "index"
    kill(hanging_builder(path, 2300))
    with pytest.raises(IndexStateError, match="there is no index at"):
        open_index(path)
    half = HalfBuilt(path)
    assert (half.safe(tantivy.BACKEND), half.builder()) == (2000, None)

    second = hanging_builder(path, 3700)  # which resumes after 2,000
    with pytest.raises(IndexStateError, match=rf"is being built by process {second.pid} already: wait"):
        build_index(Corpus(), path, source=SOURCE)
    assert half.builder() == f"process {second.pid}"
    kill(second)

    said: list[str] = []
    build_index(Corpus(), path, source=SOURCE, notice=said.append)
    assert said == [
        "resuming after 3,000 documents of an interrupted build, which are read again but not indexed again"
    ]
    assert_same(path, whole)


def test_a_kill_right_after_a_commit_or_while_replacing_loses_nothing(tmp_path: Path, whole: Index) -> None:
    path = tmp_path / "index"
    build_index(Corpus(5), path)
    interrupt(path, Corpus(), 2001, source=SOURCE, overwrite=True)
    assert open_index(path).manifest.documents == 5
    half = HalfBuilt(path)
    path.rename(half.directory / "replaced")  # as a kill between the two renames leaves it
    said: list[str] = []
    with pytest.raises(IndexStateError, match="pass overwrite"):
        build_index(Corpus(), path, source=SOURCE)
    assert open_index(path).manifest.documents == 5
    build_index(Corpus(), path, source=SOURCE, overwrite=True, notice=said.append)
    assert said[0].startswith("resuming after 2,000 documents")
    assert_same(path, whole)


def test_a_kill_when_all_was_indexed_only_reads_again(
    tmp_path: Path, whole: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(manifest: Manifest, directory: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            build_index(Corpus(), tmp_path / "index", source=SOURCE)
    said: list[str] = []
    build_index(iter(Corpus()), tmp_path / "index", source=SOURCE, notice=said.append)
    assert said[0].startswith("resuming after 4,000")
    assert_same(tmp_path / "index", whole)


def test_threads_change_nothing_that_is_found(tmp_path: Path, whole: Index) -> None:
    interrupt(tmp_path / "index", Corpus(), 2500, source=SOURCE, threads=3)
    said: list[str] = []
    build_index(Corpus(), tmp_path / "index", source=SOURCE, notice=said.append, threads=3)
    assert said[0].startswith("resuming after 2,000")
    assert_same(tmp_path / "index", whole)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"memory_mb": 64}, "differs in its parameters"),
        ({"fresh": True}, None),
        ({"backend": "rank_bm25"}, "differs in its engine, engine_version, parameters"),
    ],
)
def test_another_recipe_starts_again(tmp_path: Path, change: dict[str, object], why: str | None) -> None:
    interrupt(tmp_path / "index", Corpus(), 2500, source=SOURCE)
    said: list[str] = []
    taken: list[int] = []
    manifest = build_index(
        Corpus(),
        tmp_path / "index",
        source=SOURCE,
        notice=said.append,
        progress=taken.append,
        **change,
    )
    assert said == ([f"an interrupted build {why}: starting again"] if why else [])
    assert open_index(tmp_path / "index").manifest == manifest
    assert len(open_index(tmp_path / "index").search(["w1234"], 5)[0]) == 1


def test_another_engine_version_starts_again(tmp_path: Path) -> None:
    interrupt(tmp_path / "index", Corpus(), 2500, source=SOURCE)
    record = HalfBuilt(tmp_path / "index").directory / "recipe.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"engine_version": "0.1"}))
    said: list[str] = []
    build_index(Corpus(), tmp_path / "index", source=SOURCE, notice=said.append)
    assert said == ["an interrupted build differs in its engine_version: starting again"]


@pytest.mark.parametrize("damage", ["recipe.json", "index/engine/meta.json", "passed"])
def test_a_damaged_half_built_index_is_not_resumed(tmp_path: Path, whole: Index, damage: str) -> None:
    interrupt(tmp_path / "index", Corpus(), 2500, source={"other": "source"})
    (HalfBuilt(tmp_path / "index").directory / damage).write_text("{")
    build_index(Corpus(), tmp_path / "index", source=SOURCE)
    assert_same(tmp_path / "index", whole)


def test_a_source_that_changed_behind_the_commit_is_resumed(tmp_path: Path, whole: Index) -> None:
    interrupt(tmp_path / "index", Corpus(changed=2200), 2500, source={"sha256": "0"})
    said: list[str] = []
    build_index(Corpus(), tmp_path / "index", source=SOURCE, notice=said.append)
    assert said[0].startswith("resuming after 2,000 documents")
    assert_same(tmp_path / "index", whole)


@pytest.mark.parametrize("changed", [500, 1999])
def test_a_source_that_changed_before_the_commit_starts_again(tmp_path: Path, whole: Index, changed: int) -> None:
    interrupt(tmp_path / "index", Corpus(changed=changed), 2500, source={"sha256": "0"})
    said: list[str] = []
    build_index(Corpus(), tmp_path / "index", source=SOURCE, notice=said.append)
    assert said[1] == "the documents are not those of the interrupted build: starting again"
    assert_same(tmp_path / "index", whole)


def test_a_source_that_became_shorter_than_the_commit_starts_again(tmp_path: Path) -> None:
    interrupt(tmp_path / "index", Corpus(), 2500)
    assert build_index(Corpus(1500), tmp_path / "index").documents == 1500
    assert len(open_index(tmp_path / "index").search(["granite"], 2000)[0]) == 1500


def test_documents_that_come_once_are_trusted_by_their_source_alone(tmp_path: Path, whole: Index) -> None:
    interrupt(tmp_path / "index", Corpus(), 2500)
    said: list[str] = []
    build_index(iter(Corpus()), tmp_path / "index", notice=said.append)
    assert said == ["an interrupted build did not record where its documents came from: starting again"]
    assert_same(tmp_path / "index", whole)
    interrupt(tmp_path / "other", Corpus(changed=10), 2500, source=SOURCE)
    with pytest.raises(IndexStateError, match=r"the 2,000 documents .* are not those that came now: start again with"):
        build_index(iter(Corpus()), tmp_path / "other", source=SOURCE)
    build_index(iter(Corpus()), tmp_path / "other", source=SOURCE, fresh=True)


def test_what_an_engine_still_writes_does_not_keep_a_discarded_directory(tmp_path: Path) -> None:
    """Tantivy's watcher makes a lock file some time after a commit, which may be while the directory is removed."""
    half = HalfBuilt(tmp_path / "index")
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            with contextlib.suppress(FileNotFoundError):
                (half.engine_files / ".lock").touch()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(300):
            half.begin(Recipe("tantivy", "1", "english"))
            for name in range(10):
                (half.engine_files / str(name)).touch()
            half.discard()
            assert not list(tmp_path.iterdir())
    finally:
        done.set()
        watcher.join()


def test_a_removal_that_was_killed_is_finished(tmp_path: Path) -> None:
    half = HalfBuilt(tmp_path / "index")
    half.begin(Recipe("tantivy", "1", "english"))
    half.directory.rename(tmp_path / ".index.removed-1")
    half.begin(Recipe("tantivy", "1", "english"))
    half.discard()
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_removed_spoils_no_finished_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on NFS, while a server has the old index mapped."""

    really = shutil.rmtree

    def busy(path: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise OSError(errno.ENOTEMPTY, "Directory not empty")
        really(path, ignore_errors=True)

    build_index(Corpus(5), tmp_path / "index")
    said: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(half_built.shutil, "rmtree", busy)
        for count in (6, 7):
            build_index(Corpus(count), tmp_path / "index", overwrite=True, notice=said.append)
            assert open_index(tmp_path / "index").manifest.documents == count
    assert all(sentence.endswith("could not be removed: the next build here tries again") for sentence in said)
    assert len(said) == 3  # one leftover, then two
    build_index(Corpus(8), tmp_path / "index", overwrite=True)
    assert [child.name for child in tmp_path.iterdir()] == ["index"]


def test_a_fixed_row_resumes_after_what_was_committed(tmp_path: Path) -> None:
    """Through the command line: the error names file and line, `info` shows what there is, the same command resumes."""
    lines = [json.dumps({"id": d.id, "title": d.title, "text": d.text}) for d in Corpus()]
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("\n".join([*lines[:3210], '{"id": "3210", "text": 7}', *lines[3211:]]))
    build = ["build", str(tmp_path / "index"), str(corpus), "--corpus", "jsonl"]
    stopped = CliRunner().invoke(app, build)
    assert stopped.exit_code == 1
    assert (
        "corpus.jsonl, line 3211: field 'text' must be a string and is a int: fix or remove the row" in stopped.output
    )
    assert "3,000 documents are safe in" in stopped.output

    shown = CliRunner().invoke(app, ["info", str(tmp_path / "index")])
    assert shown.exit_code == 1
    assert "half-built      3,000 documents are safe; interrupted, the same build resumes" in shown.output
    assert "corpus=jsonl" in shown.output

    again = CliRunner().invoke(app, build)
    assert "resuming after 3,000 documents" in again.output
    anew = CliRunner().invoke(app, [*build, "--fresh"])
    assert "resuming" not in anew.output
    assert "3,000 documents are safe in" in anew.output

    corpus.write_text("\n".join(lines))
    finished = CliRunner().invoke(app, build)
    assert finished.exit_code == 0, finished.output
    assert "resuming after 3,000 documents" in finished.output
    assert "4,000 documents indexed" in finished.output
    build_index(Corpus(), tmp_path / "straight")
    straight = open_index(tmp_path / "straight")
    assert open_index(tmp_path / "index").search(QUERIES, 50) == straight.search(QUERIES, 50)


def test_repeated_ids_leave_nothing_to_resume(tmp_path: Path) -> None:
    def documents() -> Iterator[Document]:
        yield from Corpus()
        yield Document("3999", "", "again")

    with pytest.raises(CorpusError, match="documents 3999 and 4000 have the same id '3999'"):
        build_index(documents(), tmp_path / "index", source=SOURCE)
    assert not list(tmp_path.iterdir())


FULL_DISK = f"""
import subprocess, sys
from retrieval_index import Document, RetrievalError, build_index, open_index
from retrieval_index.build import half_built
from retrieval_index.backends import tantivy
tantivy.COMMIT_EVERY = half_built.CHECK_EVERY = {EVERY}
class Corpus:
    def __iter__(self):
        for n in range(20_000):
            yield Document(str(n), "", " ".join(f"w{{(n * 97 + i * i) % 100_003}}" for i in range(60)))
path = sys.argv[1] + "/index"
build_index([Document("old", "", "treasure")], path)
try:
    build_index(Corpus(), path, overwrite=True, memory_mb=16)
except RetrievalError as error:
    print(error, *error.__notes__, sep="\\n")
print("still there:", open_index(path).search(["treasure"], 1)[0][0].document.id)
subprocess.run(["mount", "-o", "remount,size=200m", sys.argv[1]], check=True)
manifest = build_index(Corpus(), path, overwrite=True, memory_mb=16, notice=print)
print("in the end:", manifest.documents, len(open_index(path).search(["w1"], 20_000)[0]))
"""


def can_mount() -> bool:
    """Whether this process may have a small file system of its own."""
    if shutil.which("unshare") is None:
        return False
    return (
        subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode == 0
    )


@pytest.mark.skipif(not can_mount(), reason="mounting a small file system is not allowed here")
def test_a_full_disk_is_said_loses_nothing_and_is_resumed(tmp_path: Path) -> None:
    """On a file system of 8 MB, which is later given room."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "program.py").write_text(FULL_DISK)
    script = f'mount -t tmpfs -o size=8m tmpfs "$0" && "{sys.executable}" "$1" "$0"'
    command = ["unshare", "-rm", "sh", "-c", script, str(tmp_path / "disk"), str(tmp_path / "program.py")]
    shown = subprocess.run(
        command, capture_output=True, text=True, timeout=100, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert "No space left on device" in lines[0]
    assert "documents are safe in" in lines[1]
    assert lines[2] == "still there: old"
    assert lines[3].startswith("resuming after ")
    assert lines[4].startswith("in the end: 20000 ")
    assert int(lines[4].split()[-1]) > 0


def test_the_lock_of_a_dead_builder_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".index.lock").write_text("process 99999999")
    build_index(Corpus(5), tmp_path / "index")
    assert [child.name for child in tmp_path.iterdir()] == ["index"]


def test_a_build_that_is_refused_leaves_the_half_built_one(tmp_path: Path) -> None:
    interrupt(tmp_path / "index", Corpus(), 2500, source=SOURCE)
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "thesis.txt").write_text("years of work")
    with pytest.raises((IndexStateError, RetrievalError), match="exists and is not an index"):
        build_index(Corpus(), tmp_path / "index", source=SOURCE, overwrite=True)
    assert HalfBuilt(tmp_path / "index").safe(tantivy.BACKEND) == 2000
