"""What the command line says when something is wrong: one sentence on stderr, and exit status 1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.markup import escape

from retrieval_index.errors import RetrievalError

err = Console(stderr=True)


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn the errors that a user can fix into one sentence and exit status 1."""
    try:
        yield
    except (RetrievalError, ValueError, OSError) as error:
        err.print(f"[red]error:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        for note in getattr(error, "__notes__", []):
            err.print(escape(note), highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error


def printable(text: str) -> str:
    """Return a text of a corpus for the terminal: control characters, which could drive it, by their numbers."""
    return escape("".join(c if c.isprintable() or c in "\n\t" else f"<{ord(c):x}>" for c in text))
