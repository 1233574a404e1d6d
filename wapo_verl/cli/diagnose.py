"""`wapo-verl diagnose METRICS`: when a run's collapse began, and by which sign."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wapo_verl.cli.one_sentence import one_sentence

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from wapo_verl.guard.diagnosis import Diagnosis
    from wapo_verl.guard.recorded import Recorded


def diagnose(
    metrics: Annotated[
        Path,
        typer.Argument(
            help="What veRL's file logger wrote (FILE.jsonl), or a CSV with a column of steps, as wandb exports."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say when a run's collapse began and by which sign: the guard's rules over the metrics of any veRL run.

    Nothing is changed, and a run that still writes the file may go on. Exit status 1 where a rule alarmed.
    """
    from rich.console import Console

    from wapo_verl.guard.diagnosis import diagnose as run_diagnosis
    from wapo_verl.guard.recorded import read_steps

    with one_sentence():
        run = read_steps(metrics)
        found = run_diagnosis(run.steps)
        if as_json:
            import orjson

            typer.echo(orjson.dumps(as_object(metrics, run, found)))
        else:
            print_diagnosis(metrics, run, found, Console())
    if found.first:
        raise typer.Exit(1)


def as_object(file: Path, run: Recorded, found: Diagnosis) -> dict[str, Any]:
    """Return all that was seen as plain types; a number that is not finite becomes null, as in veRL's own file."""
    from wapo_verl.guard.meanings import MEANINGS

    return {
        "file": str(file),
        "steps": {"first": run.numbers[0], "last": run.numbers[-1], "count": len(run.numbers)},
        "alarms": [
            {
                "rule": each.alarm.rule,
                "step": each.alarm.step,
                "since": each.since,
                "metric": each.alarm.metric,
                "value": each.alarm.value,
                "limit": each.alarm.limit,
                "sentence": each.alarm.sentence,
                "meaning": MEANINGS[each.alarm.rule].sentence,
                "page": MEANINGS[each.alarm.rule].page,
            }
            for each in found.first
        ],
        "last_good_step": found.last_good,
        "without_metric": {rule.name: rule.metric for rule in found.without_metric},
        "notes": run.notes,
    }


def print_diagnosis(file: Path, run: Recorded, found: Diagnosis, console: Console) -> None:
    """Print the steps that were read, the first alarm, a row for each rule that alarmed, and which could not look."""

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    numbers = run.numbers
    steps = "1 step" if len(numbers) == 1 else f"{len(numbers)} steps"
    say(f"{file}: {steps}, from {numbers[0]} to {numbers[-1]}")
    for note in run.notes:
        say(note)
    if found.first:
        say(_headline(found))
        console.print(_table(found))
    else:
        say(f"No alarm in {steps}.")
    if found.without_metric:
        rules = ", ".join(f"{rule.name} ({rule.metric or 'any'})" for rule in found.without_metric)
        say(f"The run did not log what these rules read: {rules}")


def _headline(found: Diagnosis) -> str:
    at = found.first[0].alarm.step
    rules = ", ".join(each.alarm.rule for each in found.first if each.alarm.step == at)
    good = (
        "no checkpoint from before it is good"
        if found.last_good is None
        else f"the last good checkpoint is of step {found.last_good} or before"
    )
    return f"First alarm at step {at}: {rules}. By the guard's measure {good} (docs/guard.md)."


def _table(found: Diagnosis) -> Table:
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    from wapo_verl.cli.show import printable
    from wapo_verl.guard.meanings import MEANINGS

    table = Table("alarm", "since", box=SIMPLE)
    table.add_column("rule, metric", no_wrap=True)
    table.add_column("seen at the alarm", ratio=1)
    table.add_column("what it means", ratio=1)
    for each in found.first:
        alarm, meaning = each.alarm, MEANINGS[each.alarm.rule]
        table.add_row(
            str(alarm.step),
            str(each.since),
            Text(printable(f"{alarm.rule}\n{alarm.metric}")),
            Text(printable(alarm.seen)),
            Text(f"{meaning.sentence} {meaning.page}"),
        )
    return table
