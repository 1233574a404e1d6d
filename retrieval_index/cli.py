"""`python -m retrieval_index build|search|info`: an index from the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from retrieval_index.backends import backend_names
from retrieval_index.build import build_index, is_current
from retrieval_index.corpora.sources import CORPORA, find_corpus, fingerprint
from retrieval_index.errors import RetrievalError
from retrieval_index.index import open_index
from retrieval_index.progress import build_progress

app = typer.Typer(help="Build, search and look at retrieval indexes.", no_args_is_help=True, add_completion=False)
out = Console()
err = Console(stderr=True)

IndexPath = Annotated[Path, typer.Argument(metavar="INDEX", help="Folder of the index.")]


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Turn the errors a user can mend into one sentence and exit status 1."""
    try:
        yield
    except (RetrievalError, ValueError, OSError) as error:
        err.print(f"[red]error:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error


def _parameters(given: list[str]) -> dict[str, float]:
    """["k1=0.9"] -> {"k1": 0.9}."""
    parameters = {}
    for item in given:
        name, _, value = item.partition("=")
        try:
            parameters[name] = float(value)
        except ValueError:
            raise ValueError(f"--parameter wants NAME=NUMBER, got {item!r}") from None
    return parameters


@app.command()
def build(
    index: IndexPath,
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE...", help="Folder or files of the corpus.")],
    corpus: Annotated[str, typer.Option(help=f"How SOURCE is read: {', '.join(CORPORA)}.")],
    backend: Annotated[str, typer.Option(help=f"The engine: {', '.join(backend_names())}.")] = "tantivy",
    parameter: Annotated[list[str] | None, typer.Option(help="NAME=NUMBER for the back end; may be repeated.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an index that is there.")] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Do nothing if INDEX holds this very corpus with these parameters.")
    ] = False,
) -> None:
    """Index a corpus. INDEX appears only when it is complete."""
    with _one_sentence():
        parameters = _parameters(parameter or [])
        source = fingerprint(corpus, sources)
        if skip_existing and is_current(index, backend, source, **parameters):
            out.print(f"{index} holds this corpus already.", highlight=False, soft_wrap=True)
            return
        conflicts: list[str] = []
        documents = find_corpus(corpus).read(sources, conflicts.append)
        with build_progress(err) as progress:
            manifest = build_index(
                documents, index, backend, overwrite=overwrite, source=source, progress=progress, **parameters
            )
        out.print(f"{manifest.documents:,} documents indexed at {index}.", highlight=False, soft_wrap=True)
        if conflicts:
            again = f"{len(conflicts):,} paragraphs came again with another text, such as {conflicts[0]!r}"
            out.print(escape(f"{again}; the first was kept."), highlight=False, soft_wrap=True)


@app.command()
def search(
    index: IndexPath,
    query: Annotated[str, typer.Argument(help="What to look for.")],
    top_k: Annotated[int, typer.Option(help="Documents to show.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a hit, whole texts.")] = False,
) -> None:
    """Show the best documents for a query."""
    with _one_sentence():
        hits = open_index(index).search([query], top_k)[0]
        if as_json:
            for hit in hits:
                sys.stdout.write(json.dumps({"score": hit.score, **asdict(hit.document)}, ensure_ascii=False) + "\n")
            return
        for rank, hit in enumerate(hits, start=1):
            head = f"[bold]{rank}. {escape(hit.document.title or hit.document.id)}[/bold]"
            out.print(f"{head}  {escape(hit.document.id)}  {hit.score:.2f}", highlight=False)
            out.print(escape(shortened(hit.document.text)), highlight=False)
        if not hits:
            out.print("Nothing found: no word of the query is in the index.")


def shortened(text: str, limit: int = 400) -> str:
    """At most `limit` characters of a text, whole words, with "..." where something is missing."""
    return text if len(text) <= limit else text[:limit].rpartition(" ")[0] + " ..."


@app.command()
def info(index: IndexPath) -> None:
    """Check an index and show its manifest."""
    with _one_sentence():
        manifest = open_index(index).manifest
        rows = {
            "documents": f"{manifest.documents:,}",
            "engine": f"{manifest.engine} {manifest.engine_version}",
            "size": f"{sum(manifest.files.values()) / 1e6:,.1f} MB",
            "parameters": " ".join(f"{name}={value:g}" for name, value in manifest.parameters.items()),
            "corpus hash": manifest.corpus_hash,
            "source": " ".join(f"{name}={value}" for name, value in manifest.source.items()) or "not recorded",
            "format version": str(manifest.format_version),
        }
        for name, value in rows.items():
            out.print(f"{name:<16}{escape(value)}", highlight=False, soft_wrap=True)
