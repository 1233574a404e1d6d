"""`python -m examples.quickstart`: read the arguments; what they need is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Overrides for veRL, such as trainer.total_training_steps=20.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the world, the warm start and the training.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for all that is made and written.")] = Path("runs/quickstart"),
) -> None:
    """Train a tiny policy to search and answer two-hop questions: WAPO in veRL, with Ray, FSDP2 and vLLM, on a CPU."""
    from examples.quickstart.exit_status import exit_with_status
    from examples.quickstart.run import quickstart

    exit_with_status(lambda console: quickstart(seed, out, overrides or [], console))


if __name__ == "__main__":
    app()
