"""`wapo-verl score`: score a file of predictions in upstream's format as the benchmark's own script does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from wapo_verl.cli.one_sentence import one_sentence


def score(
    env: Annotated[str, typer.Argument(help="The environment: hotpotqa or ottqa.")],
    predictions: Annotated[Path, typer.Argument(help="Predictions, in the format of upstream's script.")],
    reference: Annotated[Path, typer.Argument(help="The questions with answers, as upstream publishes them.")],
) -> None:
    """Score a file of predictions as the benchmark's own script does; the numbers come as one JSON object."""
    from wapo_verl.environments.registry import environment

    with one_sentence() as errors:
        found = environment(env).score_files(predictions, reference)
    for note, count in found.notes.items():
        errors.print(f"note: {note}: {count}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    typer.echo(json.dumps(dict(found.metrics), indent=2))
