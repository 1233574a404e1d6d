"""A study from end to end: files of each seed, the grid's runs, the report."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from benchmarks.study.grid import run_grid
from benchmarks.study.records import read_records
from benchmarks.study.settings import Grid, StudySettings
from wapo_verl.algorithms import ALGORITHMS


def study(grid: Grid, settings: StudySettings, out: Path, workers: int, console: Console) -> list[str]:
    """Make what is missing, run what is missing, report; returns one sentence for each run that failed.

    Raises:
        ValueError: for an algorithm that is not here, a batch that does not divide, or files of another study.
    """
    _check(grid, settings)
    from benchmarks.study.task import prepare_files

    for seed in grid.seeds:
        console.print(f"seed {seed}: indexes and a warm-started model", highlight=False)
        prepare_files(out, seed, settings.task, console)
    failures = run_grid(list(grid.cells()), settings, out, workers, console)
    for failure in failures:
        console.print(failure, style="red", markup=False, highlight=False, soft_wrap=True)
    write_report(out, console)
    return failures


def write_report(out: Path, console: Console) -> None:
    """Write `report.md` and `report.png` beside the runs.

    Raises:
        ValueError: where no run is finished.
    """
    from benchmarks.study.figure import draw
    from benchmarks.study.report import overview, pairs, table

    records = read_records(out)
    (out / "report.md").write_text(f"{overview(records)}\n{table(records)}\n{pairs(records)}")
    draw(records, out / "report.png")
    console.print(f"{len(records)} runs: {out / 'report.md'}, {out / 'report.png'}", highlight=False, soft_wrap=True)


def _check(grid: Grid, settings: StudySettings) -> None:
    known = ALGORITHMS
    for name in {cell.algorithm: None for cell in grid.cells()}:
        if name not in known:
            raise ValueError(f"there is no algorithm {name!r}; there are {', '.join(sorted(known))}")
    for count in grid.off_policy_steps:
        if settings.task.prompts_per_step % count:
            raise ValueError(
                f"{settings.task.prompts_per_step} questions a step do not divide into {count} mini-batches; "
                "choose off-policy steps that divide it"
            )
