"""How far a build has come: a live line on a terminal, a line every so many documents elsewhere. Both go to stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

EVERY = 50_000
"""Documents between two lines where there is no terminal."""

_TERMINAL_EVERY = 500


@contextmanager
def build_progress(console: Console) -> Iterator[Callable[[int], None]]:
    """A function to be called with the number of documents so far, for `build_index(progress=...)`."""
    started = time.monotonic()
    if not console.is_terminal:
        yield lambda count: _line(console, count, started)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("indexing"),
        TextColumn("{task.completed:,.0f} documents"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("indexing", total=None)

        def update(count: int) -> None:
            if count % _TERMINAL_EVERY == 0:
                bar.update(task, completed=count)

        yield update


def _line(console: Console, count: int, started: float) -> None:
    if count % EVERY == 0:
        seconds = time.monotonic() - started
        console.print(f"{count:,} documents, {count / seconds:,.0f} a second", highlight=False)
