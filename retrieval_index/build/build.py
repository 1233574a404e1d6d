"""Build an index: documents stream through checks into a back end, beside the final place, and move there at the end.

A build that was interrupted is resumed: see `half_built`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from retrieval_index.backends import backend as find_backend
from retrieval_index.backends.engine import Backend
from retrieval_index.build.checked import CheckedDocuments
from retrieval_index.build.half_built import HalfBuilt, OtherDocuments, Recipe
from retrieval_index.documents import Document
from retrieval_index.errors import CorpusError, IndexStateError, RetrievalError
from retrieval_index.index import open_index
from retrieval_index.manifest import FILE_NAME, Manifest, file_sizes

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def build_index(
    documents: Iterable[Document],
    path: Path | str,
    backend: str = "tantivy",
    *,
    overwrite: bool = False,
    fresh: bool = False,
    source: Mapping[str, str] | None = None,
    progress: Callable[[int], None] | None = None,
    notice: Callable[[str], None] | None = None,
    **parameters: Any,
) -> Manifest:
    """Index `documents` at `path`. Memory does not grow with the corpus (for tantivy).

    The index is built in a hidden folder beside `path` and renamed when it is complete, so nobody ever sees half of it.
    What an interrupted build left there is used again if back end, engine version, analyser and parameters are the
    same, and the documents are too: either `source` is the same, or they can be iterated over again, so that those that
    come can be compared with those that are indexed. They are read from the first one in any case.

    Args:
        documents: What to index.
        path: The index's folder.
        backend: Name of the back end.
        overwrite: Replace an index that is there. Any other folder is never replaced.
        fresh: Do not resume an interrupted build.
        source: A fingerprint of the documents, kept in the manifest.
        progress: Called with the number of documents taken so far, after each.
        notice: Called with one sentence when a build is resumed, or cannot be.
        **parameters: The back end's.

    Returns:
        The manifest of the finished index.

    Raises:
        CorpusError: For an empty corpus, and an empty or repeated id.
        ValueError: For a wrong parameter.
        RetrievalError: If the disk is full.
        IndexStateError: If `path` is taken, or another build of it runs. What any error leaves half-built is said in a
            note of the exception.
    """
    target = Path(path)
    engine = find_backend(backend)
    recipe = Recipe.of(engine, engine.resolve(parameters), source or {})
    target.parent.mkdir(parents=True, exist_ok=True)
    half = HalfBuilt(target)
    with half.locked():
        _check_target(target, overwrite)
        try:
            say = notice or (lambda sentence: None)
            manifest = _resume_or_begin(half, engine, recipe, documents, fresh, progress, say)
            _check_target(target, overwrite)  # something may have come to this place meanwhile
            half.move_into_place()
            for left in half.discard():
                say(_not_removed(left))
        except BaseException as error:
            _leave(half, engine, error)
            if isinstance(error, OSError) and error.errno in _NO_SPACE:
                raise _disk_full(target, error) from error
            raise
    return manifest


def is_current(path: Path | str, backend: str, source: Mapping[str, str], **parameters: Any) -> bool:
    """Tell whether the index at `path` is what `build_index` would make of the same source and arguments."""
    engine = find_backend(backend)
    try:
        manifest = open_index(path).manifest
    except IndexStateError:
        return False
    built = (manifest.engine, manifest.parameters, manifest.source)
    return built == (engine.name, engine.resolve(parameters), dict(source))


def _resume_or_begin(
    half: HalfBuilt,
    engine: Backend,
    recipe: Recipe,
    documents: Iterable[Document],
    fresh: bool,
    progress: Callable[[int], None] | None,
    say: Callable[[str], None],
) -> Manifest:
    """Complete an interrupted build of the same documents, or make a new one, in the hidden place."""
    safe = 0 if fresh else _resumable(half, engine, recipe, _comes_again(documents), say)
    if not safe:
        half.begin(recipe)
    try:
        return _build(half, engine, recipe, documents, safe, progress)
    except OtherDocuments:
        if not _comes_again(documents):
            raise IndexStateError(
                f"the {safe:,} documents that an interrupted build of {half.target} holds are not those that "
                "came now: start again with fresh (--fresh)"
            ) from None
        say("the documents are not those of the interrupted build: starting again")
        half.begin(recipe)
        return _build(half, engine, recipe, documents, 0, progress)


def _comes_again(documents: Iterable[Document]) -> bool:
    """Tell whether the documents can be iterated over a second time, unlike a generator's."""
    return iter(documents) is not documents


def _resumable(half: HalfBuilt, engine: Backend, recipe: Recipe, comes_again: bool, say: Callable[[str], None]) -> int:
    """Return after how many documents of an interrupted build to resume; 0 if there is none to resume."""
    interrupted = half.recipe()
    if interrupted is None:
        return 0
    differing = interrupted.differs(recipe)
    safe = half.safe(engine) if differing in ([], ["source"]) else 0
    same_source = not differing and recipe.source
    may_be_compared = safe and comes_again and half.passed(safe).is_exact
    if not same_source and not may_be_compared:
        why = f"differs in its {', '.join(differing)}" if differing else "did not record where its documents came from"
        say(f"an interrupted build {why}: starting again")
        return 0
    if not safe:
        return 0
    half.record(recipe)
    say(f"resuming after {safe:,} documents of an interrupted build, which are read again but not indexed again")
    return safe


def _build(
    half: HalfBuilt,
    engine: Backend,
    recipe: Recipe,
    documents: Iterable[Document],
    safe: int,
    progress: Callable[[int], None] | None,
) -> Manifest:
    """Complete the index in its hidden place, and write its manifest."""
    passed = half.passed(safe)

    def watch(count: int) -> None:
        passed.note(count, checked.digest)
        if progress is not None:
            progress(count)

    with CheckedDocuments(documents, half.directory / "ids", safe, watch) as checked:
        engine.build(checked, half.engine_files, recipe.parameters)
        if checked.count < safe:
            raise OtherDocuments
        try:
            checked.refuse_empty_or_repeated()
        except CorpusError:
            half.discard()  # the row that has to be fixed is among those that are indexed
            raise
    manifest = Manifest(
        **asdict(recipe),
        documents=checked.count,
        corpus_hash=checked.digest(),
        files=file_sizes(half.engine_files),
    )
    manifest.write(half.index)
    return manifest


def _leave(half: HalfBuilt, engine: Backend, error: BaseException) -> None:
    """Keep what a later build can resume, and say so in a note; remove anything else."""
    safe = half.safe(engine)
    if safe and not isinstance(error, IndexStateError):
        error.add_note(
            f"{safe:,} documents are safe in {half.directory}: the same build resumes after them "
            "(pass fresh, or --fresh, to start again, or remove that folder)"
        )
    if not safe:
        for left in half.discard():
            error.add_note(_not_removed(left))


def _not_removed(left: Path) -> str:
    return f"{left} could not be removed: the next build here tries again"


def _disk_full(target: Path, error: OSError) -> RetrievalError:
    full = RetrievalError(
        f"{target} cannot be built, the disk takes no more ({error.strerror}): make room and build again"
    )
    for note in getattr(error, "__notes__", []):
        full.add_note(note)
    return full


def _check_target(target: Path, overwrite: bool) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not (target / FILE_NAME).is_file():
        raise IndexStateError(f"{target} exists and is not an index: choose another place, or remove it yourself")
    if not overwrite:
        raise IndexStateError(f"there is an index at {target} already: pass overwrite (--overwrite) to replace it")
