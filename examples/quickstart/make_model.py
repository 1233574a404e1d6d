"""`python -m examples.quickstart.make_model OUT SEED`: run `warm_start` in a process of its own.

Imported, torch and transformers take most of a gigabyte. The quickstart's own process, which later only watches veRL,
never holds it this way.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from examples.quickstart.settings import QuickstartSettings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def make_model(directory: Path, seed: int) -> None:
    """Run this module in a process, with its output on the terminal, and wait for it.

    Raises:
        ChildProcessError: when it failed; it has printed why.
    """
    command = [sys.executable, "-m", "examples.quickstart.make_model", str(directory), str(seed)]
    status = subprocess.run(command, check=False).returncode
    if status != 0:
        raise ChildProcessError(f"the warm start failed with status {status}; its reason stands above")


@app.command()
def main(
    directory: Annotated[Path, typer.Argument(help="Folder of the model.")],
    seed: Annotated[int, typer.Argument(help="Of the worlds, the weights and the order.")],
) -> None:
    """Make the tiny model, its tokenizer and its warm start, or find them there."""
    import torch
    from rich.console import Console
    from transformers.utils.logging import disable_progress_bar

    from examples.quickstart.warm_start import warm_start
    from wapo_verl.cpu.defaults import threads_per_process

    torch.set_num_threads(threads_per_process())
    disable_progress_bar()  # a bar for writing one small file
    console = Console()
    try:
        warm_start(directory, seed, top_k=QuickstartSettings().top_k, console=console)
    except (ValueError, OSError) as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    app()
