"""The checks that a corpus passes on its way into an index: valid documents, distinct ids, and one hash over all."""

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
"""Files that ids are spilled to, evenly by their checksum. Looking for repeated ids holds one file in memory: at 6.4
million ids that is 50,000 of them, about 10 MB."""


class CheckedDocuments:
    """An iterator over documents that checks, counts and hashes them as they pass.

    The corpus hash is the SHA-256 over every document's id, title and text in UTF-8, each preceded by its length in
    bytes (8 bytes, big endian), so that no two corpora share a hash by moving text from one field to the next.
    """

    def __init__(
        self, documents: Iterable[Document], directory: Path, skip: int = 0, watch: Callable[[int], None] | None = None
    ) -> None:
        """Check `documents`.

        Args:
            documents: The corpus.
            directory: Folder for temporary files; it is emptied, and removed in the end.
            skip: Documents at the beginning that are checked, counted and hashed but not passed on: an index whose
                build is resumed holds them already.
            watch: Called with the count after each document, before it is passed on.
        """
        self.count = 0
        self._documents = documents
        self._directory = directory
        self._skip = skip
        self._watch = watch
        self._hash = hashlib.sha256()
        self._files = ExitStack()

    def __enter__(self) -> CheckedDocuments:
        """Make the temporary files."""
        shutil.rmtree(self._directory, ignore_errors=True)  # an interrupted build's
        self._directory.mkdir()
        names = [self._directory / str(bucket) for bucket in range(ID_BUCKETS)]
        self._buckets = [self._files.enter_context(name.open("w+b")) for name in names]
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the temporary files."""
        try:
            self._files.close()
        finally:
            shutil.rmtree(self._directory, ignore_errors=True)

    def __iter__(self) -> Iterator[Document]:
        """Yield the documents after the skipped ones. Raises CorpusError for one that cannot be indexed."""
        for position, document in enumerate(self._documents):
            identity = self._take(document, position)
            self._buckets[zlib.crc32(identity) % ID_BUCKETS].write(b"%d %s\n" % (position, identity.hex().encode()))
            self.count = position + 1
            if self._watch is not None:
                self._watch(self.count)
            if position >= self._skip:
                yield document

    def _take(self, document: Document, position: int) -> bytes:
        """Check and hash one document; return its id's bytes."""
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
        """Raise CorpusError if there was no document, or for the first repeated id. Call it after the whole pass."""
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
        """Return the corpus hash of what has passed so far, in hexadecimal."""
        return self._hash.hexdigest()
