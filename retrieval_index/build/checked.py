"""The checks a corpus passes on its way into an index: whole documents, ids of their own, and one hash over all."""

from __future__ import annotations

import hashlib
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from retrieval_index.documents import Document
from retrieval_index.errors import CorpusError

MAX_ID_BYTES = 1024
"""Engines keep an id as one term, and terms have a length limit."""

ID_BUCKETS = 128
"""Files that ids are spilled to, evenly by their checksum: looking for repeated ids holds one of them in memory, which
at 6.4 million ids is 50,000 of them, about 10 MB."""


class CheckedDocuments:
    """An iterator over documents that checks, counts and hashes them as they pass.

    The first `skip` documents are checked, counted and hashed but not passed on: an index that is gone on with holds
    them already. `digest` is the SHA-256 over every document's id, title and text in UTF-8, each preceded by its length
    in bytes (8 bytes, big endian), so that no two corpora share a digest by moving text from one field to the next.
    `watch` is called with the count after each document, before it is passed on.
    """

    def __init__(
        self, documents: Iterable[Document], directory: Path, skip: int = 0, watch: Callable[[int], None] | None = None
    ) -> None:
        self.count = 0
        self._documents = documents
        self._directory = directory
        self._skip = skip
        self._watch = watch
        self._hash = hashlib.sha256()
        self._files = ExitStack()

    def __enter__(self) -> CheckedDocuments:
        shutil.rmtree(self._directory, ignore_errors=True)  # an interrupted build's
        self._directory.mkdir()
        names = [self._directory / str(bucket) for bucket in range(ID_BUCKETS)]
        self._buckets = [self._files.enter_context(name.open("w+b")) for name in names]
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._files.close()
        finally:
            shutil.rmtree(self._directory, ignore_errors=True)

    def __iter__(self) -> Iterator[Document]:
        for position, document in enumerate(self._documents):
            identity = self._take(document, position)
            self._buckets[zlib.crc32(identity) % ID_BUCKETS].write(b"%d %s\n" % (position, identity.hex().encode()))
            self.count = position + 1
            if self._watch is not None:
                self._watch(self.count)
            if position >= self._skip:
                yield document

    def _take(self, document: Document, position: int) -> bytes:
        """Check and hash one document; returns its id's bytes."""
        encoded = []
        for name in ("id", "title", "text"):
            value = getattr(document, name)
            if not isinstance(value, str):
                raise CorpusError(
                    f"document {position} (id {document.id!r}) has a {name} of type {type(value).__name__}: "
                    "make it a string"
                )
            try:
                encoded.append(value.encode("utf-8"))
            except UnicodeEncodeError:
                raise CorpusError(
                    f"document {position} (id {document.id!r}) has a lone surrogate in its {name}, which is not "
                    "valid Unicode: decode the corpus again or replace the character"
                ) from None
        if not encoded[0]:
            raise CorpusError(f"document {position} (title {document.title!r}) has an empty id: give it a unique one")
        if len(encoded[0]) > MAX_ID_BYTES:
            raise CorpusError(
                f"document {position} (id {document.id[:60]!r}...) has an id over {MAX_ID_BYTES} bytes: shorten it"
            )
        for part in encoded:
            self._hash.update(len(part).to_bytes(8, "big") + part)
        return encoded[0]

    def refuse_empty_or_repeated(self) -> None:
        """Raise CorpusError when there was no document, or for the first repeated id; call it after the whole pass."""
        if not self.count:
            raise CorpusError("the corpus has no documents: check that the reader got the right file")
        repeated: list[tuple[int, int, bytes]] = []
        for bucket in self._buckets:
            bucket.seek(0)
            first: dict[bytes, int] = {}
            for line in bucket:
                place, identity = line.split()
                earlier = first.setdefault(identity, int(place))
                if earlier != int(place):
                    repeated.append((int(place), earlier, identity))
                    break  # places rise within a bucket, so this is its first
        if repeated:
            later, earlier, identity = min(repeated)
            name = bytes.fromhex(identity.decode()).decode()
            raise CorpusError(
                f"documents {earlier} and {later} have the same id {name!r}: give every document its own id"
            )

    def digest(self) -> str:
        """The corpus hash of what has passed so far, in hexadecimal."""
        return self._hash.hexdigest()
