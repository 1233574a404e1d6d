"""Building an index: documents stream through checks into a back end, beside the final place, and move there whole.

A build that was interrupted is gone on with: see `half_built`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from retrieval_index.backends import backend as find_backend
from retrieval_index.backends.engine import Backend
from retrieval_index.build.checked import CheckedDocuments
from retrieval_index.build.half_built import HalfBuilt, OtherDocuments, Recipe
from retrieval_index.documents import Document
from retrieval_index.errors import CorpusError, IndexStateError, RetrievalError
from retrieval_index.index import open_index
from retrieval_index.manifest import FILE_NAME, FORMAT_VERSION, Manifest, file_sizes

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
    """Index `documents` at `path` and return the manifest. Memory does not grow with the corpus (for tantivy).

    The index is built in a hidden directory beside `path` and renamed when it is complete, so nobody ever sees half of
    it. What an interrupted build has left there is gone on with when it has the same back end, engine version and
    parameters, and the documents are the same: either `source`, a fingerprint of them, is, or they can be iterated over
    again, so that the ones that come can be compared with the ones that are in. They are read from the first one in
    any case. Else, and with `fresh`, it begins anew; `notice` is called with one sentence about which.

    `parameters` are the back end's; `source` is kept in the manifest; `progress` is called with the number of
    documents taken so far, after each. Raises CorpusError for an empty corpus and an empty or repeated id, ValueError
    for a wrong parameter, RetrievalError when the disk is full, and IndexStateError when `path` is taken (an index is
    replaced only with `overwrite`, any other folder never) or another build of it runs. What an error leaves half-built
    is said in a note of the exception.
    """
    target = Path(path)
    engine = find_backend(backend)
    recipe = Recipe(engine.name, engine.engine_version, engine.resolve(parameters), dict(source or {}))
    target.parent.mkdir(parents=True, exist_ok=True)
    half = HalfBuilt(target)
    with half.locked():
        _check_target(target, overwrite)
        try:
            say = notice or (lambda sentence: None)
            safe = 0 if fresh else _take_up(half, engine, recipe, _comes_again(documents), say)
            if not safe:
                half.begin(recipe)
            try:
                manifest = _build(half, engine, recipe, documents, safe, progress)
            except OtherDocuments:
                if not _comes_again(documents):
                    raise IndexStateError(
                        f"the {safe:,} documents that an interrupted build of {target} holds are not those that "
                        "came now: begin anew with fresh (--fresh)"
                    ) from None
                say("the documents are not those of the interrupted build: beginning anew")
                half.begin(recipe)
                manifest = _build(half, engine, recipe, documents, 0, progress)
            _check_target(target, overwrite)  # something may have come to this place meanwhile
            half.move_into_place()
            for left in half.discard():
                say(f"{left} could not be removed: the next build here tries again")
        except BaseException as error:
            _leave(half, engine, error)
            if isinstance(error, OSError) and error.errno in _NO_SPACE:
                raise _disk_full(target, error) from error
            raise
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


def _comes_again(documents: Iterable[Document]) -> bool:
    """Whether the documents can be iterated over a second time, unlike a generator's."""
    return iter(documents) is not documents


def _take_up(half: HalfBuilt, engine: Backend, recipe: Recipe, comes_again: bool, say: Callable[[str], None]) -> int:
    """After how many documents of an interrupted build to go on; 0 when there is none to go on with."""
    found = half.recipe()
    if found is None:
        return 0
    differing = found.differs(recipe)
    safe = half.safe(engine) if differing in ([], ["source"]) else 0
    same_source = not differing and recipe.source
    may_be_compared = safe and comes_again and half.passed(safe).is_exact
    if not same_source and not may_be_compared:
        why = f"differs in its {', '.join(differing)}" if differing else "did not record where its documents came from"
        say(f"an interrupted build {why}: beginning anew")
        return 0
    if not safe:
        return 0
    half.record(recipe)
    say(f"going on after {safe:,} documents of an interrupted build, which are read again but not indexed again")
    return safe


def _build(
    half: HalfBuilt,
    engine: Backend,
    recipe: Recipe,
    documents: Iterable[Document],
    safe: int,
    progress: Callable[[int], None] | None,
) -> Manifest:
    """Complete the index in its hidden place, and its manifest."""
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
            half.discard()  # whichever row is mended, it is one that is in
            raise
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        engine=engine.name,
        engine_version=engine.engine_version,
        documents=checked.count,
        corpus_hash=checked.digest(),
        parameters=dict(recipe.parameters),
        source=dict(recipe.source),
        files=file_sizes(half.engine_files),
    )
    manifest.write(half.index)
    return manifest


def _leave(half: HalfBuilt, engine: Backend, error: BaseException) -> None:
    """Keep what a later build can go on with, and say so in a note; remove anything else."""
    safe = half.safe(engine)
    if safe and not isinstance(error, IndexStateError):
        error.add_note(
            f"{safe:,} documents are safe in {half.directory}: the same build goes on after them "
            "(pass fresh, or --fresh, to begin anew, or remove that folder)"
        )
    if not safe:
        for left in half.discard():
            error.add_note(f"{left} could not be removed: the next build here tries again")


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
