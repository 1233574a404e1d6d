"""A study from end to end: files of each seed, the grid's runs, the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.study.fair import Protocol, chosen, pass_settings, protocols, tuning_records
from benchmarks.study.grid import run_grid
from benchmarks.study.records import Record, is_finished, read_records
from benchmarks.study.settings import Cell, Grid, StudySettings
from wapo_verl.algorithms import ALGORITHMS


def study(grid: Grid, settings: StudySettings, out: Path, workers: int, console: Console) -> list[str]:
    """Make what is missing, run what is missing, report; returns one sentence for each run that failed.

    Raises:
        ValueError: for an algorithm that is not here, a batch that does not divide, or files of another study.
    """
    _check(grid, settings)
    failures = _prepared_runs(list(grid.cells()), settings, out, workers, console)
    for failure in failures:
        console.print(failure, style="red", markup=False, highlight=False, soft_wrap=True)
    write_report(out, console)
    return failures


def fair_study(protocol: Protocol, settings: StudySettings, out: Path, workers: int, console: Console) -> list[str]:
    """Tune each method, choose its rate and clip, run it on the fresh seeds, report; what is finished is kept.

    Returns:
        One sentence for each run that failed; nothing is chosen while a tuning run has.

    Raises:
        ValueError: for an algorithm that is not here, a batch that does not divide, or files of another study.
    """
    grid = Grid(protocol.algorithms, protocol.learning_rates, (protocol.off_policy_steps,), protocol.tuning_seeds)
    _check(grid, settings)
    cells = list(protocol.tuning_cells())
    while cells:
        failures = _prepared_runs(cells, settings, out, workers, console)
        if failures:
            return failures
        cells = list(protocol.further_tuning_cells(read_records(out)))
    reported = list(protocol.fresh_cells(chosen(read_records(out), protocol)))
    failures = _prepared_runs(reported, pass_settings(settings), out, workers, console)
    write_report(out, console)
    return failures


def _prepared_runs(
    cells: Sequence[Cell], settings: StudySettings, out: Path, workers: int, console: Console
) -> list[str]:
    """Make the seeds' files, seed by seed, and run what is missing of each."""
    from benchmarks.study.task import prepare_files

    failures: list[str] = []
    for seed in dict.fromkeys(cell.seed for cell in cells):
        of_seed = [cell for cell in cells if cell.seed == seed]
        if all(is_finished(out, cell, settings) for cell in of_seed):
            continue
        prepare_files(out, seed, settings, console)
        failures += run_grid(of_seed, settings, out, workers, console)
    return failures


def write_report(out: Path, console: Console) -> None:
    """Write `report.md` and `report.png` beside the runs; both say what is finished.

    Raises:
        ValueError: where no run is finished.
    """
    from benchmarks.study.fair_figure import draw_fair
    from benchmarks.study.fair_report import fair_page

    records = read_records(out)
    pages = [fair_page(records, protocol) for protocol in protocols(records)]
    (out / "report.md").write_text("\n".join([*pages, *_grid_tables(tuning_records(records))]))
    draw_fair(records, protocols(records)[0], out / "report.png")
    console.print(f"{len(records)} runs: {out / 'report.md'}, {out / 'report.png'}", highlight=False, soft_wrap=True)


def _grid_tables(records: Sequence[Record]) -> list[str]:
    """Tables of every condition: runs at the same rate side by side, whatever rate suits a method."""
    from benchmarks.study.report import overview, pairs, table

    return [overview(records), table(records), pairs(records)] if records else []


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
