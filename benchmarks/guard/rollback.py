"""``python -m benchmarks.guard.rollback``: how many collapsing runs does a rollback bring to their end?

A run of the study is made without the guard; where the detector alarms in it, it is made again with the guard in the
loop: the trainer's own `Guard`, with a checkpoint of weights, optimizer and schedule every step. What a rollback
changes is the variant. Runs without an alarm are the same with a guard and are made once.

A narrower clip after a rollback is a variant here, and no setting of the guard: docs/guard.md says what it did.
"""

from __future__ import annotations

import copy
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from benchmarks.guard.evaluation import Run, replay
from benchmarks.study.cell import Seed, Step, run_cell, validate
from benchmarks.study.collapse import label
from benchmarks.study.episodes import Player
from benchmarks.study.policy import Policy
from benchmarks.study.records import (
    HELD_OUT,
    Record,
    is_finished,
    read_record,
    read_records,
    record_file,
    write_record,
)
from benchmarks.study.settings import Cell, Grid, StudySettings
from benchmarks.study.task import prepare_files
from benchmarks.study.update import Loss, Trainer
from wapo_verl.guard.guard import Guard
from wapo_verl.guard.settings import GuardSettings

NONE = "no guard"
STOPPED = "stability/stopped"
ROLLBACK = {"action": "rollback", "max_rollbacks": 3}


@dataclass(frozen=True, slots=True)
class Variant:
    """What a rollback changes: `wapo.guard.on_rollback`, and an upper clip in place of the algorithm's own."""

    on_rollback: Mapping[str, float] | None = None
    clip_ratio_high: float | None = None

    @property
    def settings(self) -> GuardSettings:
        """The guard's settings."""
        return GuardSettings.model_validate({**ROLLBACK, "on_rollback": self.on_rollback})


VARIANTS: Mapping[str, Variant] = {
    "rollback": Variant(),
    "rollback, lr_factor 0.5": Variant(on_rollback={"lr_factor": 0.5}),
    "rollback, clip 0.2": Variant(clip_ratio_high=0.2),
}
SETTINGS = StudySettings(validate_every=40)
"""The study's, with a validation before the first and after the last step alone."""
NARROWED = ("wapo",)
"""Algorithms whose clip is wider than that."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Watched:
    """The guard in a run of the study, with checkpoints as files, at the places at which the trainer calls it.

    Args:
        settings: the guard's.
        folder: for its checkpoints.
        clip_ratio_high: the upper clip from the first rollback on; None keeps it.
    """

    def __init__(self, settings: GuardSettings, folder: Path, clip_ratio_high: float | None = None) -> None:
        self.guard = Guard(settings, folder, say=lambda line: None)
        self.folder, self.clip_ratio_high = folder, clip_ratio_high

    def ends(self, trainer: Trainer) -> bool:
        """Go back where there is an alarm; tells whether the guard ends the run instead."""
        if not self.guard.wants_out:
            return False
        checkpoint = self.guard.way_back()
        if checkpoint is None:
            return True
        trainer.load_state_dict(torch.load(checkpoint / "actor" / "state.pt"))
        self.guard.went_back(checkpoint)
        trainer.lr_factor = self.guard.lr_factor
        if self.clip_ratio_high is not None:
            trainer.loss = _with_clip(trainer.loss, self.clip_ratio_high)
        return False

    def observe(self, step: int, metrics: Step, trainer: Trainer) -> Step:
        """Save the step's checkpoint, which replaces the last one's, and show the guard its metrics."""
        shutil.rmtree(self.folder / f"global_step_{step - 1}", ignore_errors=True)
        actor = self.folder / f"global_step_{step}" / "actor"
        actor.mkdir(parents=True)
        torch.save(trainer.state_dict(), actor / "state.pt")
        self.guard.saved(step)
        return self.guard.observe(step, metrics)


def _with_clip(loss: Loss, clip_ratio_high: float) -> Loss:
    config = copy.copy(loss.config)
    object.__setattr__(config, "clip_ratio_high", clip_ratio_high)  # veRL's settings refuse a plain assignment
    return Loss(config)


def run_watched(cell: Cell, seed: Seed, variant: Variant) -> list[Step]:
    """Make a run with the guard in it; where that ends it, its last line is of the last good checkpoint.

    Returns:
        The record's lines. The last has `stability/stopped`, 1 where the guard ended the run, at its last step too.
    """
    with tempfile.TemporaryDirectory() as folder:
        watched = Watched(variant.settings, Path(folder), variant.clip_ratio_high)
        steps = list(run_cell(cell, seed, watched))
        stopped = watched.guard.wants_out
        if stopped:
            steps[-1] |= _of_last_good(watched, seed)
    steps[-1][STOPPED] = float(stopped)
    return steps


def _of_last_good(watched: Watched, seed: Seed) -> Step:
    """The validation of the checkpoint that the guard leaves, of the untrained weights where it leaves none."""
    model, player = seed.model(), Player(seed.task, seed.settings.task)
    good = watched.guard.checkpoints.last_good
    if good is not None:
        model.load_state_dict(torch.load(good / "actor" / "state.pt")["model"])
    return validate(player, Policy(model, player.places), seed, seed.settings.steps)


@dataclass
class Runs:
    """Makes the records of each variant under `out`, in folders of their own; those that are there are read."""

    out: Path
    settings: StudySettings
    seed: Seed | None = None

    def record(self, cell: Cell, variant: str) -> Record:
        """The run's record under a variant."""
        folder = folder_of(self.out, variant)
        if not is_finished(folder, cell, self.settings):
            self._make(cell, variant, folder)
        return read_record(record_file(folder, cell))

    def _make(self, cell: Cell, variant: str, folder: Path) -> None:
        if self.seed is None or self.seed.seed != cell.seed:
            prepare_files(self.out, cell.seed, self.settings, Console(quiet=True))
            self.seed = Seed(self.out, cell.seed, self.settings)
        wall, cpu = time.perf_counter(), time.process_time()
        chosen = VARIANTS.get(variant)
        steps = list(run_cell(cell, self.seed)) if chosen is None else run_watched(cell, self.seed, chosen)
        seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        write_record(folder, cell, self.settings, steps, seconds)
        print(f"{cell.name}, {variant}: {seconds['cpu']:.0f} s, {steps[-1][HELD_OUT]:.2f}", flush=True)


def folder_of(out: Path, variant: str) -> Path:
    """Where a variant's records lie."""
    return out / variant.replace(", ", "-").replace(" ", "-")


def variants_of(cell: Cell) -> list[str]:
    """The variants that are made of a run."""
    return [name for name, each in VARIANTS.items() if each.clip_ratio_high is None or cell.algorithm in NARROWED]


def read_variants(out: Path) -> list[tuple[Record, Mapping[str, Record]]]:
    """Read what is finished: each run that collapsed without a guard or had an alarm, and its variants.

    Where there was no alarm a variant is the run itself.

    Raises:
        ValueError: where there is none, or a file is no record.
    """
    found: list[tuple[Record, Mapping[str, Record]]] = []
    for record in read_records(folder_of(out, NONE)):
        if has_alarm(record):
            files = {name: record_file(folder_of(out, name), record.cell) for name in variants_of(record.cell)}
            if all(file.is_file() for file in files.values()):
                found.append((record, {name: read_record(file) for name, file in files.items()}))
        elif label(record) is not None:
            found.append((record, dict.fromkeys(variants_of(record.cell), record)))
    return found


def has_alarm(record: Record) -> bool:
    """Whether the guard would act in the run."""
    run = Run(record.cell.name, record.cell.seed, record.steps, label(record))
    return replay(run).alarm() is not None


def finished(record: Record) -> bool:
    """Whether a run came to its end, without the guard ending it, and had not collapsed there."""
    return not record.steps[-1].get(STOPPED, 0.0) and label(record) is None


def table(found: Sequence[tuple[Record, Mapping[str, Record]]]) -> str:
    """A Markdown table of runs that collapsed without a guard, and one of those that did not but had an alarm."""
    lines = [
        "| runs | variant | at their end, not collapsed | ended by the guard (without a good checkpoint) | "
        "rollbacks, mean | held-out exact match, mean (least) |",
        "| --- | --- | --: | --: | --: | --: |",
    ]
    algorithms = dict.fromkeys(record.cell.label for record, _ in found)
    for title, collapsed in (("collapse without a guard", True), ("sound, with an alarm", False)):
        for algorithm in algorithms:
            chosen = [
                (record, variants)
                for record, variants in found
                if record.cell.label == algorithm and (label(record) is not None) is collapsed
            ]
            names = dict.fromkeys(name for _, variants in chosen for name in variants)
            for name in (NONE, *names) if chosen else ():
                records = [record if name == NONE else variants[name] for record, variants in chosen]
                lines.append(_row(f"{algorithm}, {title}", name, records))
    return "\n".join(lines) + "\n"


def _row(title: str, name: str, records: Sequence[Record]) -> str:
    last = [record.steps[-1] for record in records]
    held_out = [step[HELD_OUT] for step in last]
    stopped = [step for step in last if step.get(STOPPED, 0.0)]
    helpless = sum("stability/last_good_step" not in step for step in stopped)
    rollbacks = statistics.fmean(step.get("stability/rollbacks", 0.0) for step in last)
    numbers = (
        f"{sum(map(finished, records))} of {len(records)}",
        "–" if name == NONE else f"{len(stopped)} ({helpless})",
        "–" if name == NONE else f"{rollbacks:.1f}",
        f"{statistics.fmean(held_out):.2f} ({min(held_out):.2f})",
    )
    return f"| {title} | {name} | {' | '.join(numbers)} |"


@app.command()
def main(
    algorithms: Annotated[str, typer.Option(help="Names, with commas.")] = "wapo,grpo_ref",
    learning_rates: Annotated[str, typer.Option(help="Of AdamW, with commas.")] = "2e-3,3e-3,4e-3",
    seeds: Annotated[str, typer.Option(help="Whole numbers, with commas.")] = "0,1,2,3,4",
    out: Annotated[Path, typer.Option(help="Folder for all that is made.")] = Path("runs/rollback"),
) -> None:
    """Make the runs and print the table; what is there already is not made again."""
    rates, numbers = tuple(map(float, learning_rates.split(","))), tuple(map(int, seeds.split(",")))
    cells = Grid(tuple(algorithms.split(",")), rates, (8,), numbers).cells()
    torch.set_num_threads(1)
    runs = Runs(out.absolute(), SETTINGS)
    for cell in cells:
        if has_alarm(runs.record(cell, NONE)):
            for name in variants_of(cell):
                runs.record(cell, name)
    typer.echo(table(read_variants(runs.out)))


if __name__ == "__main__":
    app()
