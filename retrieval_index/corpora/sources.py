"""The corpora by name, for the command line: how each is read, and a fingerprint of its files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from retrieval_index.corpora.files import Meter
from retrieval_index.corpora.hotpotqa import read_hotpotqa_abstracts, read_hotpotqa_distractor
from retrieval_index.corpora.jsonl import jsonl_files, read_jsonl
from retrieval_index.corpora.ottqa import ottqa_files, read_ottqa
from retrieval_index.documents import Document
from retrieval_index.errors import CorpusError

READERS_VERSION = "1"
"""Raised when a reader makes other documents of the same files, so that older indexes do not count as current."""

OnConflict = Callable[[str], None]
Read = Callable[[Sequence[Path], OnConflict, Meter], Iterator[Document]]


@dataclass(frozen=True)
class Corpus:
    """How a corpus is read.

    Attributes:
        read: Streams the documents of all sources. It calls its second argument with the id of each document that it
            skips because it came before with another text.
        files: Returns the files that one source consists of.
    """

    read: Read
    files: Callable[[Path], Iterable[Path]]


def _itself(source: Path) -> list[Path]:
    return [source]


def _dump_files(source: Path) -> list[Path]:
    return sorted(source.rglob("wiki_*.bz2")) if source.is_dir() else [source]


def _each(read: Callable[[Path, Meter], Iterator[Document]]) -> Read:
    """Read one source after the other; a repeated id is then an error of the build, not a conflict."""
    return lambda sources, on_conflict, meter: chain.from_iterable(read(source, meter) for source in sources)


CORPORA = {
    "ottqa": Corpus(_each(read_ottqa), ottqa_files),
    "hotpotqa-abstracts": Corpus(_each(read_hotpotqa_abstracts), _dump_files),
    "hotpotqa-distractor": Corpus(
        lambda sources, on_conflict, meter: read_hotpotqa_distractor(*sources, on_conflict=on_conflict, meter=meter),
        _itself,
    ),
    "jsonl": Corpus(_each(read_jsonl), jsonl_files),
}


def find_corpus(name: str) -> Corpus:
    """Return the corpus called `name`. Raises ValueError, naming those that exist, for any other."""
    if name not in CORPORA:
        raise ValueError(f"there is no corpus {name!r}: choose one of {', '.join(CORPORA)}")
    return CORPORA[name]


class CorpusDocuments:
    """The documents of a corpus by its name, read from the first one at every iteration.

    Attributes:
        conflicts: Ids that this iteration has skipped, because they came before with another text.
        meter: How much of the files this iteration has read.
    """

    def __init__(self, name: str, sources: Sequence[Path]) -> None:
        """Find the files of the sources. Raises ValueError for an unknown name, CorpusError if a file is missing."""
        self._corpus = find_corpus(name)
        self._sources = sources
        self.conflicts: list[str] = []
        self.meter = Meter(path for source in sources for path in self._corpus.files(source))

    def __iter__(self) -> Iterator[Document]:
        """Read the documents from the first one on."""
        self.conflicts.clear()
        self.meter.restart()
        return self._corpus.read(self._sources, self.conflicts.append, self.meter)


def fingerprint(name: str, sources: Sequence[Path]) -> dict[str, str]:
    """Return what a manifest keeps of a corpus: its name, the readers' version, and the SHA-256 of its files in order.

    Raises:
        CorpusError: If a file is missing.
    """
    total = hashlib.sha256()
    files = find_corpus(name).files
    for source in sources:
        for path in files(source):
            try:
                with path.open("rb") as file:
                    total.update(hashlib.file_digest(file, "sha256").digest())
            except OSError as error:
                raise CorpusError(f"{path} cannot be read ({error.strerror}): check the path of the corpus") from error
    return {"corpus": name, "readers": READERS_VERSION, "sha256": total.hexdigest()}
