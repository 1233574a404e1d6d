"""``python -m benchmarks.study``: only the arguments are here, the work is imported when it runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console

Item = TypeVar("Item")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

ALGORITHMS = "wapo,wapo:0.2,grpo_ref,gspo_ref,cpgd,raft_pp"
OUT = Path("runs/study")


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    algorithms: Annotated[
        str, typer.Option(help="Names, with commas; NAME:CLIP has an upper clip of the ratio in place of its own.")
    ] = ALGORITHMS,
    learning_rates: Annotated[str, typer.Option(help="Of AdamW, with commas.")] = "1e-3,2e-3,3e-3,4e-3",
    off_policy_steps: Annotated[str, typer.Option(help="Optimizer mini-batches a step, with commas.")] = "1,8",
    staleness: Annotated[str, typer.Option(help="Steps by which the sampling weights are behind, with commas.")] = "0",
    seeds: Annotated[str, typer.Option(help="Whole numbers, with commas.")] = "0,1,2,3,4",
    steps: Annotated[int, typer.Option(min=1, help="Training steps of a run.")] = 40,
    validation_questions: Annotated[int, typer.Option(min=1, help="Held-out questions of a validation.")] = 240,
    workers: Annotated[int, typer.Option(min=1, help="Processes, of one thread each.")] = 2,
    out: Annotated[Path, typer.Option(help="Folder for all that is made and written.")] = OUT,
) -> None:
    """Run a grid of the tiny search task in process and report on it; what is finished already is not run again."""
    if context.invoked_subcommand is not None:
        return
    from rich.console import Console

    from benchmarks.study.run import study
    from benchmarks.study.settings import Grid, StudySettings

    console = Console()
    try:
        grid = Grid(
            algorithms=_listed(algorithms, str),
            learning_rates=_listed(learning_rates, float),
            off_policy_steps=_listed(off_policy_steps, int),
            seeds=_listed(seeds, int),
            staleness=_listed(staleness, int),
        )
        settings = StudySettings(steps=steps, validation_questions=validation_questions)
        failures = study(grid, settings, out.absolute(), workers, console)
    except (ValueError, OSError) as error:
        _refuse(console, error)
    if failures:
        raise typer.Exit(1)


@app.command()
def fair(
    task: Annotated[str, typer.Option(help="Names of tasks, with commas.")] = "miniwiki,sparse,chain",
    algorithms: Annotated[str, typer.Option(help="Names, with commas; all of the comparison by default.")] = "",
    fresh_seeds: Annotated[int, typer.Option(min=1, help="How many fresh seeds, of those of the comparison.")] = 8,
    off_policy_steps: Annotated[str, typer.Option(help="Optimizer mini-batches a step, with commas.")] = "8",
    workers: Annotated[int, typer.Option(min=1, help="Processes, of one thread each.")] = 2,
    out: Annotated[Path, typer.Option(help="Folder for all that is made and written.")] = OUT,
) -> None:
    """Tune each method by itself on some seeds, run it on fresh ones, and report; what is finished is not run again."""
    from rich.console import Console

    from benchmarks.study.fair import METHODS, Protocol
    from benchmarks.study.run import fair_study
    from benchmarks.study.settings import TASKS, task_folder

    console = Console()
    failures: list[str] = []
    try:
        for name in _listed(task, str):
            if name not in TASKS:
                raise ValueError(f"there is no task {name!r}; there are {', '.join(TASKS)}")
            for updates in _listed(off_policy_steps, int):
                protocol = Protocol(
                    algorithms=_listed(algorithms, str) or METHODS,
                    off_policy_steps=updates,
                    fresh_seeds=Protocol().fresh_seeds[:fresh_seeds],
                )
                folder = task_folder(out.absolute(), name)
                failures += fair_study(protocol, TASKS[name], folder, workers, console)
    except (ValueError, OSError) as error:
        _refuse(console, error)
    for failure in failures:
        console.print(failure, style="red", markup=False, highlight=False, soft_wrap=True)
    if failures:
        raise typer.Exit(1)


@app.command()
def report(out: Annotated[Path, typer.Argument(help="Folder of a study, or of its records.")] = OUT) -> None:
    """Write the table and the figure of the runs that are finished."""
    from rich.console import Console

    from benchmarks.study.run import write_report

    console = Console()
    try:
        write_report(out.absolute(), console)
    except (ValueError, OSError) as error:
        _refuse(console, error)


@app.command()
def publish(out: Annotated[Path, typer.Argument(help="Folder of a study.")] = OUT) -> None:
    """Put the tables into README.md and docs/study.md, draw docs/study.png, pack all runs into benchmarks/."""
    from rich.console import Console

    from benchmarks.study.publish import publish as write

    try:
        write(out.absolute(), Path.cwd())
    except (ValueError, OSError) as error:
        _refuse(Console(), error)


def _listed(text: str, kind: Callable[[str], Item]) -> tuple[Item, ...]:
    """The items of a comma-separated list.

    Raises:
        ValueError: for an item that is no such value.
    """
    try:
        return tuple(kind(item.strip()) for item in text.split(",") if item.strip())
    except ValueError as error:
        raise ValueError(f"{text!r} is no list of numbers with commas between them ({error})") from error


def _refuse(console: Console, error: Exception) -> NoReturn:
    console.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1) from error


if __name__ == "__main__":
    app()
