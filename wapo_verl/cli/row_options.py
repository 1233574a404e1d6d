"""The arguments by which `check-env` and `try-env` say which rows of an environment they are about."""

from __future__ import annotations

from typing import Annotated

import typer

Source = Annotated[
    str | None,
    typer.Option(
        help="File or folder with the upstream files, hub, or hf://OWNER/NAME (@REVISION may follow); the "
        "environment's sample by default."
    ),
]
Agent = Annotated[str | None, typer.Option(help="The agent loop, where several can play the rows.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="key=value, an option of the environment.")]
