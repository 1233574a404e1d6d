"""Building an index: documents stream through checks into a back end, beside the final place, and move there whole."""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from retrieval_index.backends import backend as find_backend
from retrieval_index.documents import Document
from retrieval_index.errors import CorpusError, IndexStateError
from retrieval_index.index import ENGINE_DIRECTORY, open_index
from retrieval_index.manifest import FILE_NAME, FORMAT_VERSION, Manifest, file_sizes, fsync_directory

MAX_ID_BYTES = 1024
"""Engines keep an id as one term, and terms have a length limit."""

_BUCKETS = 16


def build_index(
    documents: Iterable[Document],
    path: Path | str,
    backend: str = "tantivy",
    *,
    overwrite: bool = False,
    source: Mapping[str, str] | None = None,
    progress: Callable[[int], None] | None = None,
    **parameters: Any,
) -> Manifest:
    """Index `documents` at `path` and return the manifest. Memory does not grow with the corpus (for tantivy).

    The index is built in a hidden directory beside `path` and renamed when it is complete, so nobody ever sees half of
    it. `parameters` are the back end's; `source` is kept in the manifest; `progress` is called with the number of
    documents taken so far, after each. Raises CorpusError for an empty corpus and an empty or repeated id, ValueError
    for a wrong parameter, and IndexStateError when `path` is taken: an index is replaced only with `overwrite`, any
    other folder never.
    """
    target = Path(path)
    engine = find_backend(backend)
    resolved = engine.resolve(parameters)
    _check_target(target, overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)
    working = target.parent / f".{target.name}.building-{os.getpid()}"
    try:
        (working / ENGINE_DIRECTORY).mkdir(parents=True)
        with CheckedDocuments(documents, working / "ids", progress) as checked:
            engine.build(checked, working / ENGINE_DIRECTORY, resolved)
            checked.refuse_empty_or_repeated()
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            engine=engine.name,
            engine_version=engine.engine_version,
            documents=checked.count,
            corpus_hash=checked.digest(),
            parameters=resolved,
            source=dict(source or {}),
            files=file_sizes(working / ENGINE_DIRECTORY),
        )
        manifest.write(working)
        _check_target(target, overwrite)  # another build may have finished at this place meanwhile
        _move_into_place(working, target)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return manifest


def is_current(path: Path | str, backend: str, source: Mapping[str, str], **parameters: Any) -> bool:
    """Whether the index at `path` is what `build_index` would make of the same source with the same arguments."""
    engine = find_backend(backend)
    try:
        manifest = open_index(path).manifest
    except IndexStateError:
        return False
    built = (manifest.engine, manifest.parameters, manifest.source)
    return built == (engine.name, engine.resolve(parameters), dict(source))


class CheckedDocuments:
    """An iterator over documents that checks, counts and hashes them as they pass.

    Ids are spilled to 16 files by their last byte, so that repeated ones are found after the pass with a part of them
    in memory. `digest` is the SHA-256 over every document's id, title and text in UTF-8, each preceded by its length in
    bytes (8 bytes, big endian), so that no two corpora share a digest by moving text from one field to the next.
    """

    def __init__(self, documents: Iterable[Document], directory: Path, progress: Callable[[int], None] | None) -> None:
        self.count = 0
        self._documents = documents
        self._directory = directory
        self._progress = progress
        self._hash = hashlib.sha256()
        self._files = ExitStack()

    def __enter__(self) -> CheckedDocuments:
        self._directory.mkdir()
        names = [self._directory / str(bucket) for bucket in range(_BUCKETS)]
        self._buckets = [self._files.enter_context(name.open("w+b")) for name in names]
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()
        shutil.rmtree(self._directory)

    def __iter__(self) -> Iterator[Document]:
        for position, document in enumerate(self._documents):
            identity = self._take(document, position)
            self._buckets[identity[-1] % _BUCKETS].write(b"%d %s\n" % (position, identity.hex().encode()))
            self.count = position + 1
            if self._progress is not None:
                self._progress(self.count)
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
        if repeated:
            later, earlier, identity = min(repeated)
            name = bytes.fromhex(identity.decode()).decode()
            raise CorpusError(
                f"documents {earlier} and {later} have the same id {name!r}: give every document its own id"
            )

    def digest(self) -> str:
        """The corpus hash of what has passed, in hexadecimal."""
        return self._hash.hexdigest()


def _check_target(target: Path, overwrite: bool) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not (target / FILE_NAME).is_file():
        raise IndexStateError(f"{target} exists and is not an index: choose another place, or remove it yourself")
    if not overwrite:
        raise IndexStateError(f"there is an index at {target} already: pass overwrite (--overwrite) to replace it")


def _remove_leftovers(target: Path) -> None:
    """Remove what builds whose process is gone have left behind; a build that still runs keeps its own."""
    for leftover in target.parent.glob(f".{glob.escape(target.name)}.*-*"):
        state, _, owner = leftover.name.removeprefix(f".{target.name}.").partition("-")
        if state in ("building", "replaced") and owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(leftover, ignore_errors=True)


def _move_into_place(working: Path, target: Path) -> None:
    """Rename the finished index to its place; one that is there steps aside first and is removed afterwards."""
    aside = target.parent / f".{target.name}.replaced-{os.getpid()}"
    if (target / FILE_NAME).exists():
        target.rename(aside)
    working.rename(target)
    fsync_directory(target.parent)
    shutil.rmtree(aside, ignore_errors=True)
