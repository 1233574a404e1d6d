"""Java for Lucene: which one is found, what is said when none will do, threads, forks. No GPU, no veRL."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.backends import engine_or_skip

engine_or_skip("lucene")

from retrieval_index import Document, RetrievalError, build_index, open_index  # noqa: E402
from retrieval_index.backends import java as java_module  # noqa: E402
from retrieval_index.backends.java import find_java, java_class, java_version  # noqa: E402


def write_java(home: Path, release: str | None, says: str = "") -> Path:
    (home / "bin").mkdir(parents=True)
    if release is not None:
        (home / "release").write_text(release)
    program = home / "bin" / "java"
    program.write_text(f"#!/bin/sh\necho '{says}' >&2\n")
    program.chmod(0o755)
    return home


@pytest.mark.parametrize(
    ("release", "says", "version"),
    [
        ('IMPLEMENTOR="x"\nJAVA_VERSION="21.0.8"\n', "", 21),
        ('JAVA_VERSION="1.8.0_412"\n', "", 8),
        ('JAVA_VERSION="25"\n', "", 25),
        ("nothing known", 'openjdk version "17.0.15" 2025-04-15', 17),
        ("nothing known", "not a version", None),
        (None, "", None),
    ],
)
def test_a_version_is_read(release: str | None, says: str, version: int | None, tmp_path: Path) -> None:
    assert java_version(write_java(tmp_path / "jdk", release, says)) == version


def test_the_first_java_that_is_new_enough_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = write_java(tmp_path / "old", 'JAVA_VERSION="17.0.1"')
    new = write_java(tmp_path / "new", 'JAVA_VERSION="22"')
    monkeypatch.setenv("JAVA_HOME", str(old))
    monkeypatch.setenv("PATH", str(new / "bin"))
    assert find_java() == new


def test_java_that_is_too_old_or_missing_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = write_java(tmp_path / "old", 'JAVA_VERSION="17.0.1"')
    monkeypatch.setattr(java_module.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", str(old))
    with pytest.raises(RetrievalError, match=r"needs Java 21 or newer, and .*old has Java 17: install one with `pip"):
        find_java()
    monkeypatch.delenv("JAVA_HOME")
    with pytest.raises(RetrievalError, match="needs Java 21 or newer, and none was found: install one with"):
        find_java()


def test_threads_that_end_are_ended_in_java_too(tmp_path: Path) -> None:
    build_index([Document("1", "", "granite")], tmp_path / "index", "lucene")
    index = open_index(tmp_path / "index")
    beans = java_class("java.lang.management.ManagementFactory").getThreadMXBean()
    before = beans.getThreadCount()
    for _ in range(5):
        threads = [threading.Thread(target=index.search, args=(["granite"], 1)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert beans.getThreadCount() <= before + 10  # of 40; Java starts and ends compiler threads of its own


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_is_told_at_once(tmp_path: Path) -> None:
    """In a process of its own: forking the one that runs the tests would take all it holds along.

    There the bridge's garbage collection, which asks Java for one now and then, must be out of Python's.
    """
    program = (
        "import gc, os, sys\n"
        "from retrieval_index import Document, RetrievalError, build_index, open_index\n"
        "build_index([Document('1', '', 'granite')], sys.argv[1], 'lucene')\n"
        "index = open_index(sys.argv[1])\n"
        "if os.fork() == 0:\n"
        "    try:\n"
        "        index.search(['granite'], 1)\n"
        "    except RetrievalError as error:\n"
        "        print(error, flush=True)\n"
        "    print(sum(callback.__module__ == '_jpype' for callback in gc.callbacks), flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "print(index.search(['granite'], 1)[0][0].document.id)\n"
    )
    # From Python 3.12 on a fork of a process with threads warns.
    quiet = ("-W", "ignore:This process:DeprecationWarning")
    command = [sys.executable, *quiet, "-c", program, str(tmp_path / "index")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[0].startswith("Java does not survive a fork: open a 'lucene' index only in")
    assert done.stdout.splitlines()[1:] == ["0", "1"]
    assert done.stderr == ""
