"""`python -m retrieval_index`: build, search, inspect and serve indexes from the command line."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from retrieval_index.backends.analysis import query_terms
from retrieval_index.cli.build import IndexPath, build, info
from retrieval_index.cli.console import err, one_sentence, printable
from retrieval_index.cli.coverage import coverage_command
from retrieval_index.cli.serve import serve
from retrieval_index.index import open_index

app = typer.Typer(help="Build, search and look at retrieval indexes.", no_args_is_help=True, add_completion=False)
out = Console()


app.command()(build)


@app.command()
def search(
    index: IndexPath,
    query: Annotated[str, typer.Argument(help="What to look for.")],
    top_k: Annotated[int, typer.Option(help="Documents to show.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a hit, whole texts.")] = False,
) -> None:
    """Show the best documents for a query."""
    with one_sentence():
        hits = open_index(index).search([query], top_k)[0]
        if as_json:
            for hit in hits:
                sys.stdout.write(json.dumps({"score": hit.score, **asdict(hit.document)}, ensure_ascii=False) + "\n")
            return
        for rank, hit in enumerate(hits, start=1):
            head = f"[bold]{rank}. {printable(hit.document.title or hit.document.id)}[/bold]"
            out.print(f"{head}  {printable(hit.document.id)}  {hit.score:.2f}", highlight=False)
            out.print(printable(shortened(hit.document.text)), highlight=False)
        if not hits:
            out.print("Nothing found: no word of the query is in the index.")
        if query_terms(query).only_stopwords:
            err.print("Every word of this query is a stopword; a query with other words is searched for those.")


def shortened(text: str, limit: int = 400) -> str:
    """Return at most `limit` characters of a text, whole words, with "..." where something is missing."""
    return text if len(text) <= limit else text[:limit].rpartition(" ")[0] + " ..."


app.command()(info)
app.command("coverage")(coverage_command)
app.command()(serve)
