"""`python -m examples.smollm2`: read the arguments; what they need is imported when it runs."""

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
    seed: Annotated[int, typer.Option(help="Of the questions and the training.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for all that is made and written.")] = Path("runs/smollm2"),
) -> None:
    """Train SmolLM2-135M-Instruct to name the largest of three numbers: WAPO in veRL, with FSDP2 and vLLM, on a CPU."""
    from examples.quickstart.exit_status import exit_with_status
    from examples.smollm2.run import smollm2

    exit_with_status(lambda console: smollm2(seed, out, overrides or [], console))


if __name__ == "__main__":
    app()
