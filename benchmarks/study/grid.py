"""Runs the cells of a grid that are not there yet, in worker processes of one thread that live through many cells."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.study.records import HELD_OUT, is_finished, write_record
from benchmarks.study.settings import Cell, StudySettings

_NEWEST: dict[str, object] = {}
"""In a worker: the seed it worked on last, under "seed". Cells come seed by seed, so older ones are not kept."""


def run_grid(cells: Sequence[Cell], settings: StudySettings, out: Path, workers: int, console: Console) -> list[str]:
    """Run what is missing; returns one sentence for each run that failed.

    Raises:
        ValueError: where a finished run was made with other settings.
    """
    missing = [cell for cell in cells if not is_finished(out, cell, settings)]
    console.print(f"{len(cells)} runs, {len(cells) - len(missing)} of them finished before", highlight=False)
    failures: list[str] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("runs", total=len(missing))
        for cell, outcome in _finished(missing, settings, out, workers):
            try:
                seconds, last = outcome.result()
                text = f"{cell.name}: {seconds:.0f} s, held-out exact match {last:.2f} at the end"
            except Exception as error:  # noqa: BLE001 - one run's failure must not lose the others; it is reported
                text = f"{cell.name} failed: {type(error).__name__}: {error}"
                failures.append(text)
            progress.update(task, advance=1)
            progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
    return failures


def _finished(
    cells: Sequence[Cell], settings: StudySettings, out: Path, workers: int
) -> Iterator[tuple[Cell, Future[tuple[float, float]]]]:
    """Each cell when it is over, in that order; they start in the order they were given. One worker is this process."""
    if workers == 1:
        _one_thread()
        for cell in cells:
            yield cell, _here(cell, settings, out)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _one_thread) as pool:
        started = {pool.submit(_work, cell, settings, out): cell for cell in cells}
        try:
            for outcome in as_completed(started):
                yield started[outcome], outcome
        finally:
            pool.shutdown(cancel_futures=True)


def _here(cell: Cell, settings: StudySettings, out: Path) -> Future[tuple[float, float]]:
    outcome: Future[tuple[float, float]] = Future()
    try:
        outcome.set_result(_work(cell, settings, out))
    except Exception as error:  # noqa: BLE001 - what a pool does; whoever asks for the result gets it
        outcome.set_exception(error)
    return outcome


def _one_thread() -> None:
    import torch
    from transformers.utils.logging import disable_progress_bar

    torch.set_num_threads(1)
    disable_progress_bar()


def _work(cell: Cell, settings: StudySettings, out: Path) -> tuple[float, float]:
    """Run one cell in this process and write its record; returns its seconds and its last held-out exact match."""
    from benchmarks.study.cell import Seed, run_cell

    seed = _NEWEST.get("seed")
    if not isinstance(seed, Seed) or (seed.seed, seed.settings, seed.out) != (cell.seed, settings, out):
        seed = _NEWEST["seed"] = Seed(out, cell.seed, settings)
    wall, cpu = time.perf_counter(), time.process_time()
    steps = list(run_cell(cell, seed))
    seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    write_record(out, cell, settings, steps, seconds)
    return seconds["wall"], steps[-1][HELD_OUT]
