"""`python -m examples.quickstart`: read the arguments; what they need is imported when it runs."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def _end(number: int, frame: FrameType | None) -> None:
    """End this process by an exception, so that veRL's processes are ended too."""
    sys.exit(128 + number)


@app.command()
def main(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Overrides for veRL, such as trainer.total_training_steps=20.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the world, the warm start and the training.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for all that is made and written.")] = Path("runs/quickstart"),
) -> None:
    """Train a tiny policy to search and answer two-hop questions: WAPO in veRL, with Ray, FSDP2 and vLLM, on a CPU."""
    from rich.console import Console

    from examples.quickstart.run import quickstart

    signal.signal(signal.SIGTERM, _end)
    console = Console()
    try:
        status = quickstart(seed, out, overrides or [], console)
    except (ValueError, OSError) as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    raise typer.Exit(status)


if __name__ == "__main__":
    app()
