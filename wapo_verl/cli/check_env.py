"""`wapo-verl check-env NAME`: run every check on every row of an environment, and print a table and failing rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from wapo_verl.cli.one_sentence import one_sentence, options_in
from wapo_verl.cli.row_options import Agent, Settings, Source

if TYPE_CHECKING:
    from rich.console import Console

    from wapo_verl.env_tools.soundness import Soundness


def check_env(
    name: Annotated[str, typer.Argument(help="The environment.")],
    split: Annotated[list[str] | None, typer.Option(help="A split to check; may be repeated. All by default.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many rows of each split.")] = None,
    source: Source = None,
    agent: Agent = None,
    set_: Settings = None,
) -> None:
    """Check that an environment's reward can be trusted: gold scores 1, empty 0, no attack pays, nothing varies."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    from wapo_verl.env_tools.row_choice import rows_of
    from wapo_verl.env_tools.soundness import check_environment

    with one_sentence() as errors:
        with errors.status(f"reading {name}"):
            rows = rows_of(name, source, tuple(split or ()), options_in(set_), limit, agent)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=errors) as progress:
            tasks: list[TaskID] = []
            found = check_environment(
                rows,
                begin=lambda part, count: tasks.append(progress.add_task(f"{name} {part}", total=count)),
                advance=lambda: progress.advance(tasks[-1]),
            )
    show(name, rows.env.agent_name, found, Console())
    if not found.sound:
        raise typer.Exit(1)


def show(name: str, agent_name: str, found: Soundness, console: Console) -> None:
    """Print a table of the checks, the first failing rows and a verdict."""
    from rich.table import Table
    from rich.text import Text

    from wapo_verl.env_tools.play import PLAYED
    from wapo_verl.env_tools.soundness import NOTES, TELLS

    counts = ", ".join(f"{count:,} rows of {split}" for split, count in found.rows.items())
    table = Table("", "check", title=f"{name}: {counts}", title_justify="left")
    table.add_column("rows", justify="right")
    table.add_column("failed", justify="right")
    table.add_column("what holds", overflow="fold")
    for check, tally in found.tallies.items():
        mark = "[yellow]–[/]" if check in NOTES else "[red]✗[/]" if tally.failed else "[green]✓[/]"
        table.add_row(mark, check, f"{tally.checked:,}", f"{tally.failed:,}", TELLS[check])
    console.print(table)
    if agent_name not in PLAYED:
        console.print(f"no attack was tried: the loop {agent_name} cannot be played here", soft_wrap=True)
    for failure in found.failures:
        line = Text(f"{failure.split} row {failure.row}, {failure.check}: {failure.problem}")
        console.print(line, style="red", soft_wrap=True)
    failed = sum(tally.failed > 0 for check, tally in found.tallies.items() if check not in NOTES)
    console.print(f"{name} is sound" if found.sound else f"{name} fails {failed} check(s)")
