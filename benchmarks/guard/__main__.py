"""``python -m benchmarks.guard.__main__ RUNS...``: the detector's false alarm and detection rate on recorded runs.

RUNS are folders that ``python -m benchmarks.study`` has written. Their labels are the study's own definition of a
collapse. Seeds are told apart, so that thresholds tuned on some are measured on others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from benchmarks.guard.evaluation import Outcome, Run, kept_report, mistakes, replay, report
from benchmarks.study.collapse import label
from benchmarks.study.records import Record, read_records
from wapo_verl.guard.thresholds import Thresholds
from wapo_verl.settings.keys import explain

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

UNCOUNTED = ("group/with_winner", "group/winner_fraction")
MEASURED, TUNED = "seeds the thresholds were not tuned on", "seeds the thresholds were tuned on"


def read_runs(folder: Path) -> list[Run]:
    """Return the finished runs of a study, labelled.

    Those of NSR are without `UNCOUNTED`: nobody was a winner of it when they were recorded, since it reinforces nobody.

    Raises:
        ValueError: where there is none, or a file is no record; the message names it.
    """
    return [Run(record.cell.name, record.cell.seed, _steps(record), label(record)) for record in read_records(folder)]


def _steps(record: Record) -> Sequence[Mapping[str, float]]:
    if record.cell.algorithm != "nsr":
        return record.steps
    return [{name: value for name, value in step.items() if name not in UNCOUNTED} for step in record.steps]


def thresholds_from(given: Sequence[str]) -> Thresholds:
    """Thresholds from "key=value" texts, the defaults elsewhere.

    Raises:
        ValueError: for a text without "=", an unknown key or a value that cannot be.
    """
    values: dict[str, Any] = {}
    for text in given:
        key, separator, value = text.partition("=")
        if not separator:
            raise ValueError(f"{text!r} is no threshold: write key=value, as in patience=4")
        values[key] = int(value) if value.isdigit() and key not in _fractions() else float(value)
    try:
        return Thresholds.model_validate(values)
    except ValidationError as error:
        raise ValueError(explain(error, Thresholds)) from error


def _fractions() -> list[str]:
    return [name for name, value in Thresholds().model_dump().items() if isinstance(value, float)]


@app.command()
def main(
    runs: Annotated[list[Path], typer.Argument(help="Folders written by the study.")],
    tuned: Annotated[list[int] | None, typer.Option(help="A seed the thresholds were tuned on; repeat it.")] = None,
    threshold: Annotated[list[str] | None, typer.Option("--set", help="A threshold, key=value; repeat it.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write the tables to.")] = None,
) -> None:
    """Replay recorded runs through the detector, and count."""
    try:
        chosen = thresholds_from(threshold or [])
        outcomes = [replay(run, chosen) for folder in runs for run in read_runs(folder)]
    except (ValueError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    text = page(outcomes, frozenset(tuned or []), chosen)
    typer.echo(text)
    if out is not None:
        out.write_text(text)


def page(outcomes: Sequence[Outcome], tuned: frozenset[int], thresholds: Thresholds) -> str:
    """The tables as Markdown, the seeds that nothing was tuned on first."""
    parts = ["# The guard's detector on recorded runs\n", _preamble(outcomes, tuned, thresholds)]
    for title, of in ((MEASURED, False), (TUNED, True)):
        found = [outcome for outcome in outcomes if (outcome.run.seed in tuned) is of]
        if found:
            seeds = ", ".join(map(str, sorted({outcome.run.seed for outcome in found})))
            parts += [f"## {title.capitalize()}: {seeds}\n", report(found), _list(mistakes(found))]
            parts += [kept_report([outcome.run for outcome in found], thresholds)]
    return "\n".join(parts)


def _preamble(outcomes: Sequence[Outcome], tuned: frozenset[int], thresholds: Thresholds) -> str:
    collapsed = sum(outcome.run.collapsed_at is not None for outcome in outcomes)
    numbers = ", ".join(f"{name} {value:g}" for name, value in thresholds.model_dump().items())
    seeds = "".join(f" --tuned {seed}" for seed in sorted(tuned))
    return (
        f"Written by `python -m benchmarks.guard.__main__ RUNS{seeds}`, RUNS a folder of the study. "
        f"{len(outcomes)} runs of the study, {collapsed} of them collapsed by its own definition "
        "(`benchmarks/study/collapse.py`).\n\n"
        "The label sees the whole run and reads the reward; so does `reward_fall`, which sees only the past. A "
        "detection is a first alarm from 10 steps before the label on; an earlier one is premature."
        " What a run's very last update did is in no metric that the "
        "detector reads, only in the validation after it, which the label reads too.\n\n"
        f"Thresholds: {numbers}.\n"
    )


def _list(lines: Sequence[str]) -> str:
    return "".join(f"- {line}\n" for line in lines) or "No mistakes.\n"


if __name__ == "__main__":
    app()
