"""`python -m retrieval_index build` and `info`: build an index from a corpus, and show what is known about one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from retrieval_index.backends import backend as find_backend
from retrieval_index.backends import backend_names
from retrieval_index.build.build import build_index, is_current
from retrieval_index.build.half_built import HalfBuilt
from retrieval_index.cli.console import err, one_sentence
from retrieval_index.cli.progress import build_progress
from retrieval_index.corpora.sources import CORPORA, CorpusDocuments, fingerprint
from retrieval_index.errors import IndexStateError
from retrieval_index.index import open_index

IndexPath = Annotated[Path, typer.Argument(metavar="INDEX", help="Folder of the index.")]
out = Console()


def build(
    index: IndexPath,
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE...", help="Folder or files of the corpus.")],
    corpus: Annotated[str, typer.Option(help=f"How SOURCE is read: {', '.join(CORPORA)}.")],
    backend: Annotated[str, typer.Option(help=f"The engine: {', '.join(backend_names())}.")] = "tantivy",
    parameter: Annotated[list[str] | None, typer.Option(help="NAME=VALUE for the back end; may be repeated.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an index that is there.")] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start again instead of resuming an interrupted build.")
    ] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Do nothing if INDEX holds this very corpus with these parameters.")
    ] = False,
) -> None:
    """Index a corpus. INDEX appears only when it is complete; the same command resumes after an interruption."""
    with one_sentence():
        parameters = _parameters(parameter or [])
        source = fingerprint(corpus, sources)
        if skip_existing and is_current(index, backend, source, **parameters):
            _say(f"{index} holds this corpus already.")
            return
        documents = CorpusDocuments(corpus, sources)
        try:
            with build_progress(err, documents.meter.share) as progress:
                manifest = build_index(
                    documents,
                    index,
                    backend,
                    overwrite=overwrite,
                    fresh=fresh,
                    source=source,
                    progress=progress,
                    notice=lambda sentence: err.print(escape(sentence), highlight=False, soft_wrap=True),
                    **parameters,
                )
        except KeyboardInterrupt as stopped:
            for note in getattr(stopped, "__notes__", []):
                err.print(escape(note), highlight=False, soft_wrap=True)
            raise
        _say(f"{manifest.documents:,} documents indexed at {index}.")
        if documents.conflicts:
            again = f"{len(documents.conflicts):,} paragraphs came again with another text"
            _say(f"{again}, such as {documents.conflicts[0]!r}; the first was kept.")


def info(index: IndexPath) -> None:
    """Check an index and show its manifest, and the state of a build that runs or was interrupted."""
    with one_sentence():
        half = _half_built_rows(HalfBuilt(index))
        try:
            manifest = open_index(index).manifest
        except IndexStateError:
            _show(half)
            raise
        _show(
            {
                "documents": f"{manifest.documents:,}",
                "engine": f"{manifest.engine} {manifest.engine_version}",
                "analyser": manifest.analyser,
                "size": f"{sum(manifest.files.values()) / 1e6:,.1f} MB",
                "parameters": _pairs(manifest.parameters),
                "corpus hash": manifest.corpus_hash,
                "source": _pairs(manifest.source) or "not recorded",
                "format version": str(manifest.format_version),
            }
            | half
        )


def _half_built_rows(half: HalfBuilt) -> dict[str, str]:
    """Return what is known of a build that is not complete; nothing if there is none."""
    recipe = half.recipe()
    if recipe is None:
        return {}
    builder = half.builder()
    try:
        safe = f"{half.safe(find_backend(recipe.engine)):,} documents are safe"
    except ValueError as error:
        safe = str(error)
    return {
        "half-built": f"{safe}; {f'{builder} is building' if builder else 'interrupted, the same build resumes'}",
        "  with": f"{recipe.engine} {recipe.engine_version} {_pairs(recipe.parameters)}",
        "  of": _pairs(recipe.source) or "not recorded",
        "  in": str(half.directory),
    }


def _parameters(given: list[str]) -> dict[str, float | str]:
    """Read ["k1=0.9", "index=wiki"] as {"k1": 0.9, "index": "wiki"}; the back end says which of them it takes."""
    parameters: dict[str, float | str] = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"--parameter wants NAME=VALUE, got {item!r}")
        try:
            parameters[name] = float(value)
        except ValueError:
            parameters[name] = value
    return parameters


def _pairs(values: Mapping[str, Any]) -> str:
    """Write "k1=0.9 index=wiki", numbers as one would type them."""
    typed = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in values.items()}
    return " ".join(f"{name}={value}" for name, value in typed.items())


def _show(rows: dict[str, str]) -> None:
    for name, value in rows.items():
        _say(f"{name:<16}{value}")


def _say(text: str) -> None:
    out.print(escape(text), highlight=False, soft_wrap=True)
