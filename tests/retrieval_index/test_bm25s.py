"""bm25s: what is stored, and that opening it costs next to nothing. No GPU, no veRL."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval_index import Document, Index, build_index, open_index
from retrieval_index.backends.stored import StoredDocuments, store


def found(index: Index, query: str) -> list[str]:
    return [hit.document.id for hit in index.search([query], 100)[0]]


@settings(max_examples=25)
@given(texts=st.lists(st.tuples(st.text(), st.text(max_size=200)), min_size=1, max_size=8))
def test_stored_documents_come_back_whole(
    tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, str]]
) -> None:
    clean = [[part.encode("utf-8", "ignore").decode() for part in pair] for pair in texts]
    documents = [Document(f"id {number} é", *pair) for number, pair in enumerate(clean)]
    folder = tmp_path_factory.mktemp("stored")
    assert list(store(documents, folder)) == documents
    stored = StoredDocuments(folder)
    assert [stored[position] for position in range(len(stored))] == documents
    assert [stored.find(document.id) for document in documents] == documents
    assert stored.find("id") is None


def test_many_documents_with_equal_scores_come_in_order(tmp_path: Path) -> None:
    texts = ["granite"] * 500 + ["granite granite"] * 3 + ["granite"] * 500
    build_index([Document(str(n), "", text) for n, text in enumerate(texts)], tmp_path / "index", "bm25s")
    best = ["500", "501", "502"]
    assert found(open_index(tmp_path / "index"), "granite") == best + [str(n) for n in range(97)]


def test_a_corpus_without_words_can_be_searched(tmp_path: Path) -> None:
    build_index([Document("1", "", ""), Document("2", "", "...")], tmp_path / "index", "bm25s")
    index = open_index(tmp_path / "index")
    assert found(index, "otter") == []
    assert index.get("2") == Document("2", "", "...")


def test_very_long_words_are_left_out(tmp_path: Path) -> None:
    build_index([Document("1", "", f"{'y' * 40} {'я' * 20} otter {'z' * 39}")], tmp_path / "index", "bm25s")
    index = open_index(tmp_path / "index")
    assert [found(index, word) for word in ("y" * 40, "y" * 39, "я" * 20, "z" * 39)] == [[], [], [], ["1"]]


def test_opening_adds_little_memory_and_takes_little_time(tmp_path: Path) -> None:
    """In a process of its own; 8,000 documents, whose texts and scores are 7 MB on the disk."""

    def documents() -> Iterator[Document]:
        draw = random.Random(0)
        for number in range(8_000):
            yield Document(str(number), "", " ".join(f"w{draw.randrange(50_000)}" for _ in range(60)))

    manifest = build_index(documents(), tmp_path / "index", "bm25s")
    assert sum(manifest.files.values()) > 6e6
    program = (
        "import sys, time\n"
        "from retrieval_index import open_index\n"
        "from retrieval_index.backends import backend\n"
        "def private_mb():\n"
        "    lines = open('/proc/self/smaps_rollup').read().splitlines()\n"
        "    return sum(int(line.split()[1]) for line in lines if line.startswith('Private_')) / 1024\n"
        "backend('bm25s')\n"
        "before, started = private_mb(), time.process_time()\n"
        "index = open_index(sys.argv[1])\n"
        "print(time.process_time() - started, private_mb() - before, index.get('7999').id)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "index")]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout.split()
    assert float(shown[0]) < 0.1
    assert float(shown[1]) < 2
    assert shown[2] == "7999"
