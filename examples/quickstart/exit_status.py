"""Run an example from the command line: its errors as one sentence, its end by a signal as an exception."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType

import typer
from rich.console import Console


def exit_with_status(example: Callable[[Console], int]) -> None:
    """Run an example and end with the exit status it returns, or with 1 after an error that has one sentence.

    Raises:
        typer.Exit: always.
    """
    signal.signal(signal.SIGTERM, _end)
    console = Console()
    try:
        status = example(console)
    except (ValueError, OSError) as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    raise typer.Exit(status)


def _end(number: int, frame: FrameType | None) -> None:
    """End this process by an exception, so that veRL's processes are ended too."""
    sys.exit(128 + number)
