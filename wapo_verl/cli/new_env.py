"""`wapo-verl new-env NAME`: make a small environment that passes every check, as a start for your own."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from wapo_verl.cli.one_sentence import one_sentence


class Kind(StrEnum):
    """What a new environment starts as."""

    MATH = "math"
    RETRIEVAL = "retrieval"


def new_env(
    name: Annotated[str, typer.Argument(help="Its name: small letters, digits and _, a letter first.")],
    kind: Annotated[Kind, typer.Option(help="A number in one turn, or an answer after searches.")] = Kind.MATH,
    path: Annotated[
        Path | None,
        typer.Option(
            help="Folder that will hold the environment's own; by default the first one that WAPO_ENVIRONMENTS names, "
            "or ./environments.",
            file_okay=False,
        ),
    ] = None,
) -> None:
    """Make a folder with a small environment of your own that passes every check; edit it from there."""
    from rich.console import Console

    from wapo_verl.env_tools.scaffold import make

    with one_sentence():
        made = make(name, kind, path)
    console = Console(soft_wrap=True, highlight=False)
    for file in made.files:
        console.print(f"  {file}", markup=False)
    if not made.is_found:
        console.print("so that it is found, in this shell and in every run:", style="bold")
        console.print(f"  export WAPO_ENVIRONMENTS={made.variable}", markup=False)
    console.print("then:", style="bold")
    console.print(f"  wapo-verl check-env {name}\n  wapo-verl try-env {name} --gold", markup=False)
