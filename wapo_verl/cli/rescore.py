"""``wapo-verl rescore DUMP``: verify recorded episodes again, after a verifier or its weights changed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from wapo_verl.cli.one_sentence import one_sentence


def rescore(
    recorded: Annotated[
        Path,
        typer.Argument(help="A folder of `wapo-verl eval`, or a dump of veRL (STEP.jsonl of training or validation)."),
    ],
    env: Annotated[str | None, typer.Option(help="The environment of a dump's rows.")] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(help="part=weight of the reward, in place of the environment's; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for rescore.json and the file with the new scores, under its own name.", file_okay=False
        ),
    ] = None,
) -> None:
    """Score recorded episodes again: which scores moved, and where an advantage would have had another sign."""
    from rich.console import Console

    from wapo_verl.evaluation.reading import samples_file
    from wapo_verl.evaluation.rescore import rescore as run_rescore
    from wapo_verl.evaluation.rescore_report import as_json, print_rescoring

    with one_sentence() as errors:
        weights = dict(map(_weight, weight or ())) or None
        file = samples_file(recorded)
        with errors.status("scoring again"):
            found = run_rescore(file, env, weights, out)
        print_rescoring(found, Console())
        if out is not None:
            (out / "rescore.json").write_text(as_json(found), encoding="utf-8")
            errors.print(f"written: {out / 'rescore.json'}, {out / file.name}", highlight=False, soft_wrap=True)


def _weight(setting: str) -> tuple[str, float]:
    """Read ``part=number``.

    Raises:
        ValueError: for anything else.
    """
    part, _, value = setting.partition("=")
    try:
        weight = float(value)
    except ValueError as error:
        raise ValueError(f"--weight {setting!r} is not of the form part=number") from error
    if not math.isfinite(weight):
        raise ValueError(f"--weight {setting!r} is no finite number")
    return part.strip(), weight
