"""An open index: it checks the manifest and the arguments, and the back end answers batches of queries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from retrieval_index.backends import backend
from retrieval_index.backends.engine import Backend, Searcher
from retrieval_index.documents import Document, Hit
from retrieval_index.errors import IndexStateError
from retrieval_index.manifest import ENGINE_DIRECTORY, FILE_NAME, REBUILD, Manifest, file_sizes


class Index:
    """A read-only index, as `open_index` returns it. Several threads may use it at once."""

    def __init__(self, manifest: Manifest, searcher: Searcher) -> None:
        """Join a manifest and the open engine; use `open_index` instead."""
        self.manifest = manifest
        self._searcher = searcher

    def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        """Return a list of at most `top_k` hits for each query, scores falling, ties in the order of insertion.

        A query of which no word is in the index gets [].

        Raises:
            ValueError: If `top_k` is below 1, or the queries are not a sequence of strings.
            RetrievalError: If the engine fails.
        """
        check_request(queries, top_k)
        return self._searcher.search_many(queries, top_k)

    def get(self, document_id: str) -> Document | None:
        """Return the document with this id, or None."""
        return self._searcher.get(document_id)


def check_request(queries: Sequence[str], top_k: int) -> None:
    """Raise ValueError, in one sentence, for arguments that no index can answer."""
    if isinstance(queries, str):
        raise ValueError("queries must be a list of strings, not one string: put the query into a list")
    for position, query in enumerate(queries):
        if not isinstance(query, str):
            raise ValueError(f"query {position} is a {type(query).__name__}, not a string")
    if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
        raise ValueError(f"top_k must be a whole number of at least 1, not {top_k!r}")


def open_index(path: Path | str) -> Index:
    """Open the index at `path`.

    Raises:
        IndexStateError: If it is missing, half-built, of another version, or was copied in part.
        RetrievalError: If its engine cannot be reached.
    """
    manifest, engine = inspect_index(path)
    return Index(manifest, engine.open(Path(path) / ENGINE_DIRECTORY, manifest.parameters))


def inspect_index(path: Path | str) -> tuple[Manifest, Backend]:
    """Check that the index at `path` is complete; return its manifest and its back end without starting an engine.

    Raises:
        IndexStateError: If it is missing, half-built, of another version, or was copied in part.
    """
    directory = Path(path)
    manifest = Manifest.read(directory)
    try:
        engine = backend(manifest.engine)
        analyser = engine.analyser(engine.resolve(manifest.parameters))
    except ValueError as error:
        raise IndexStateError(f"the index at {directory} cannot be opened: {error}") from error
    if engine.engine_version != manifest.engine_version:
        raise IndexStateError(
            f"the index at {directory} was built with {manifest.engine} {manifest.engine_version}, installed is "
            f"{engine.engine_version}: install that version, or {REBUILD}"
        )
    if analyser != manifest.analyser:
        raise IndexStateError(
            f"the index at {directory} was built with the analyser {manifest.analyser!r}, and queries would be "
            f"analysed by {analyser!r}, so that words would not be found: {REBUILD}"
        )
    if file_sizes(directory / ENGINE_DIRECTORY) != manifest.files:
        raise IndexStateError(
            f"the files in {directory} are not the ones its {FILE_NAME} lists: copy it again, or {REBUILD}"
        )
    return manifest, engine
