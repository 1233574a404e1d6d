"""How far a build is: a live line on a terminal, a line every so many documents elsewhere. Both go to stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task, TaskProgressColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

EVERY = 50_000
"""Documents between two lines where there is no terminal."""

WINDOW_S = 30.0
"""Seconds that the rate and the time left are computed from. Documents that are only read again, when a build is
resumed, pass much faster than the rest."""

_TERMINAL_EVERY = 500


class _Documents(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.speed or task.completed / max(task.elapsed or 0, 1e-6)
        return Text(f"{task.completed:,.0f} documents, {speed:,.0f} a second")


@contextmanager
def build_progress(
    console: Console, share: Callable[[], float] | None = None, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int], None]]:
    """Yield a function to be called with the number of documents so far, for `build_index(progress=...)`.

    Args:
        console: Where to show it.
        share: Returns how much of the corpus has been read, from 0 to 1, where its size is known.
        clock: Returns the time in seconds.
    """
    columns: list[str | ProgressColumn] = [_Documents(), TimeElapsedColumn(), "gone"]
    if share is not None:
        columns[1:1] = [TaskProgressColumn(), TimeRemainingColumn(), "left"]
    progress = Progress(
        *columns,
        console=console,
        transient=True,
        refresh_per_second=4,
        speed_estimate_period=WINDOW_S,
        get_time=clock,
    )
    progress.add_task("", total=None)
    task = progress.tasks[0]
    every = _TERMINAL_EVERY if console.is_terminal else EVERY

    def show(count: int) -> None:
        if count % every:
            return
        if share is not None:
            task.total = count / max(share(), 1e-9)
        progress.update(task.id, completed=count)
        if not console.is_terminal:
            console.print(progress.get_renderable())

    with progress if console.is_terminal else nullcontext():
        yield show
