"""``wapo-verl compare A B [C ...]``: whether one evaluation is better than another, beyond chance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wapo_verl.cli.one_sentence import one_sentence


def compare(
    evaluations: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of `wapo-verl eval`, or dumps of veRL (STEP.jsonl); the others against the first."
        ),
    ],
    k: Annotated[
        str | None, typer.Option(help="Numbers of samples for pass@k, pass^k and maj@k, such as 1,4,16,64.")
    ] = None,
    metric: Annotated[str, typer.Option(help="The score to compare: score, or a reward part.")] = "score",
    failed: Annotated[str, typer.Option(help="What a failed sample counts as: out (it is left out) or zero.")] = "out",
    env: Annotated[
        str | None, typer.Option(help="The environment of a dump's rows, which tells which answers are the same.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for comparison.md, comparison.json and comparison.png.", file_okay=False)
    ] = None,
) -> None:
    """Compare evaluations of the same questions: means, pass@k, differences with intervals and p-values."""
    from rich.console import Console

    from wapo_verl.evaluation.comparison import compare as run_compare
    from wapo_verl.evaluation.reading import read_evaluation
    from wapo_verl.evaluation.report import print_comparison, write

    with one_sentence() as errors:
        as_zero = counts_as_zero(failed)
        with errors.status("reading"):
            read = [read_evaluation(place, env) for place in evaluations]
        found = run_compare(read, whole_numbers(k), metric, failures_as_zero=as_zero)
        print_comparison(found, Console())
        if out is not None:
            for file in write(found, out):
                errors.print(f"written: {file}", highlight=False, soft_wrap=True)


def counts_as_zero(failed: str) -> bool:
    """Read ``--failed``: whether a failed sample counts as zero.

    Raises:
        ValueError: for anything but out and zero.
    """
    if failed not in ("out", "zero"):
        raise ValueError(f"--failed is out or zero, not {failed!r}")
    return failed == "zero"


def whole_numbers(text: str | None) -> list[int]:
    """Read ``1,4,16``; nothing gives no number.

    Raises:
        ValueError: for anything else.
    """
    try:
        return [int(part) for part in text.split(",")] if text else []
    except ValueError as error:
        raise ValueError(f"--k takes whole numbers with commas between them, such as 1,4,16, not {text!r}") from error
