"""`wapo-verl view`: the viewer, on this machine alone, or one file of it."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wapo_verl.cli.one_sentence import one_sentence

if TYPE_CHECKING:
    from wapo_verl.viewer.runs import Run


def view(
    paths: Annotated[list[Path], typer.Argument(help="Folders of runs or evaluations, or files of records.")],
    port: Annotated[int, typer.Option(help="The port; 0 takes a free one.")] = 0,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    token: Annotated[bool, typer.Option(help="Ask for the token of the printed address.")] = True,
    export: Annotated[Path | None, typer.Option(help="Write one page to this file, and start nothing.")] = None,
    records: Annotated[str | None, typer.Option("--set", help="With --export: which records.")] = None,
    step: Annotated[int | None, typer.Option(help="With --export: which step; the last by default.")] = None,
) -> None:
    """Show what a policy does: runs, steps, groups, episodes and tokens, in a browser."""
    from retrieval_index.service.settings import is_loopback
    from wapo_verl.viewer.runs import ViewError, open_run, open_runs

    with one_sentence():
        if not token and not is_loopback(host):
            raise ViewError(f"--host {host} lets other machines in: leave --no-token out, or listen on 127.0.0.1")
        if not 0 <= port <= 65535:
            raise ViewError(f"--port {port} is none: choose one from 0 to 65535")
        if export is None and (records is not None or step is not None):
            raise ViewError("--set and --step belong to --export: leave them out, and choose in the browser")
        if export is None:
            _serve(open_runs(paths), host, port, secrets.token_urlsafe(16) if token else None)
            return
        from wapo_verl.viewer.export import export as write

        if len(paths) > 1:
            raise ViewError("--export writes one run: give one path")
        run = open_run(paths[0])
        size = write(run, *run.chosen(records, step), export)
        typer.echo(f"{export}: {size:,} bytes")


def _serve(runs: list[Run], host: str, port: int, token: str | None) -> None:
    """Serve until interrupted; the address is printed once it is taken, before the first request."""
    import uvicorn

    from retrieval_index.service.connection import BoundedConnection
    from wapo_verl.viewer.app import create_app

    listener = socket.create_server((host, port))
    shown = f"http://{host}:{listener.getsockname()[1]}/" + (f"?token={token}" if token else "")
    typer.echo(f"{len(runs)} run(s) at {shown}   (Ctrl-C ends it)")
    application = create_app(runs, token)
    config = uvicorn.Config(application, http=BoundedConnection, ws="none", log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])
