"""`python -m retrieval_index serve`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from retrieval_index.cli.console import one_sentence
from retrieval_index.service.settings import ServiceSettings, token_from


def serve(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="Folder of the index.")],
    host: Annotated[str, typer.Option(help="Address to listen on; others than loopback need a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one and prints it.")] = 8000,
    workers: Annotated[int, typer.Option(help="Processes; they share the index's memory.")] = 1,
    threads: Annotated[int, typer.Option(help="Search threads of each worker; 0 shares the cores.")] = 0,
    default_top_k: Annotated[int, typer.Option(help="Documents where a request names no number.")] = 3,
    max_top_k: Annotated[int, typer.Option(help="Most documents a query may ask for.")] = 100,
    max_queries: Annotated[int, typer.Option(help="Most queries in one request.")] = 4096,
    max_documents: Annotated[int, typer.Option(help="Most documents in one answer.")] = 50_000,
    max_body_bytes: Annotated[int, typer.Option(help="Largest body of a request.")] = 4_000_000,
    queue_limit: Annotated[int, typer.Option(help="Queries that may wait in a worker; more get 503.")] = 8192,
    max_wait_s: Annotated[
        float, typer.Option(help="Seconds a request may wait for a thread before it gets 503.")
    ] = 20.0,
    max_batch: Annotated[int, typer.Option(help="Queries a thread takes at a time.")] = 32,
    drain_s: Annotated[float, typer.Option(help="Seconds for requests under way at shutdown.")] = 30.0,
    token_from_env: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Environment variable that holds the token callers must send; RETRIEVAL_TOKEN if it is set.",
        ),
    ] = None,
) -> None:
    """Serve an index over HTTP until SIGTERM."""
    with one_sentence():
        settings = ServiceSettings(
            index=index,
            host=host,
            port=port,
            workers=workers,
            threads=threads,
            default_top_k=default_top_k,
            max_top_k=max_top_k,
            max_queries=max_queries,
            max_documents=max_documents,
            max_body_bytes=max_body_bytes,
            queue_limit=queue_limit,
            max_wait_s=max_wait_s,
            max_batch=max_batch,
            drain_s=drain_s,
            token=token_from(token_from_env),
        )
        from retrieval_index.service.workers import serve as serve_until_a_signal  # heavy, and only needed here

        status = serve_until_a_signal(settings, _announce)
    raise typer.Exit(status)


def _announce(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
