"""Run the quickstart from end to end: world, index, warm start, veRL, report."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from wapo_verl.environments.installed.miniwiki.environment import PART_OF_SPLIT

from examples.quickstart import curves, episodes_view, report
from examples.quickstart.command import SPLITS, Folders, copyable, training_command
from examples.quickstart.make_model import make_model
from examples.quickstart.memory import PeakMemory
from examples.quickstart.metrics import Row
from examples.quickstart.settings import QuickstartSettings
from examples.quickstart.training import Training, train
from retrieval_index import build_index
from retrieval_index.build.build import is_current
from wapo_verl.data.prepare import Request, prepare
from wapo_verl.environments.registry import environment
from wapo_verl.evaluation.verl_process import last_errors

BACKEND = "tantivy"
GOAL = report.Goal("from at most 0.5 to at least 0.8", lambda first, last, questions: first <= 0.5 and last >= 0.8)


@dataclass(slots=True)
class Stages:
    """Announces each piece of work before veRL starts, and keeps its seconds for the report."""

    console: Console
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Announce a piece, and print how long it took at its end."""
        self.console.print(f"{name} ...", highlight=False)
        started = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - started
        self.console.print(f"{self.seconds[name]:6.1f} s  {name}", highlight=False)


def quickstart(seed: int, out: Path, overrides: Sequence[str], console: Console) -> int:
    """Run everything and print the report.

    Args:
        seed: of the world, the warm start and the training.
        out: folder for all that is written; a world, index or model that is there already is used where it is the same.
        overrides: for veRL's command, as Hydra takes them.
        console: where to print.

    Returns:
        The exit status, 0 only where training came to its end.

    Raises:
        ValueError: for an override that is not possible.
        OSError: when a file cannot be read or written.
    """
    settings, folders, stages = QuickstartSettings(), Folders(out.absolute()), Stages(console)
    command = training_command(folders, settings, seed, overrides)
    folders.out.mkdir(parents=True, exist_ok=True)
    with PeakMemory() as memory:
        make_world(folders, settings, seed, stages)
        with stages.stage("a tiny model and its warm start"):
            make_model(folders.model, seed)
        return train_and_conclude(Prepared("quickstart", seed, command, stages, GOAL), folders, memory)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that is ready for veRL: its name and seed, veRL's command, the stages before it, and its goal."""

    name: str
    seed: int
    command: Sequence[str]
    stages: Stages
    goal: report.Goal


def train_and_conclude(run: Prepared, folders: Folders, memory: PeakMemory) -> int:
    """Run veRL's command and print the report; return the exit status, 0 only where training came to its end."""
    console = run.stages.console
    _forget_the_last_run(folders)
    console.rule("veRL")
    console.print(copyable(run.command, folders.metrics), markup=False, highlight=False, soft_wrap=True)
    console.print(f"its output goes to {folders.log}", highlight=False, soft_wrap=True)
    training = train(run.command, folders.log, folders.metrics, console)
    if training.status != 0 or not any(row.trained for row in training.rows):
        _show_failure(training, folders, console)
        return training.status if training.status > 0 else 1
    around = report.Circumstances(
        seed=run.seed,
        questions=_questions(folders, training.rows),
        preparation=run.stages.seconds,
        start_up=training.start_up,
        training_seconds=training.seconds,
        peak_memory_bytes=memory.peak_bytes,
        command=run.command,
        name=run.name,
        goal=run.goal,
    )
    conclude(training.rows, around, folders, console)
    return 0


def make_world(folders: Folders, settings: QuickstartSettings, seed: int, stages: Stages) -> None:
    """Write the questions as parquet and an index for each split; an index of the same documents is kept."""
    world: dict[str, object] = {"books": settings.books, "held_out_books": settings.held_out_books}
    with stages.stage("a world: questions and documents"):
        row_options = {**world, "max_turns": settings.max_turns}
        for item in prepare(Request("miniwiki", folders.data, seed=seed, options=row_options)):
            stages.console.print(
                f"          {item.rows:>5,} {item.content}: {item.file}", highlight=False, soft_wrap=True
            )
    with stages.stage("an index of the documents for each split"):
        for split in SPLITS:
            options = {**world, "seed": seed, "part": PART_OF_SPLIT[split]}
            source = {"corpus": "miniwiki", **{name: str(value) for name, value in options.items()}}
            folder = folders.index / split
            if is_current(folder, BACKEND, source):
                stages.console.print(f"the index at {folder} is of these documents already", soft_wrap=True)
            else:
                documents = environment("miniwiki").documents(None, **options)
                build_index(documents, folder, BACKEND, overwrite=True, source=source)


def conclude(rows: Sequence[Row], around: report.Circumstances, folders: Folders, console: Console) -> None:
    """Write `report.json` and `curves.png`, and print episodes, tables and verdict."""
    found = report.build(rows, around)
    folders.report.write_text(json.dumps(found, indent=2) + "\n")
    curves.draw(rows, folders.curves, f"wapo-verl {around.name}, seed {around.seed}")
    validated = [row for row in rows if row.held_out is not None]
    console.rule("one held-out question, before and after")
    before, after = (
        [episodes_view.read_dump(_dump(folders, row)) for row in (validated[0], validated[-1])]
        if len(validated) > 1
        else ([], [])
    )
    episodes_view.show(before, after, console)
    console.rule("report")
    report.show(found, console)
    for name, file in (("curves", folders.curves), ("report", folders.report), ("metrics", folders.metrics)):
        console.print(f"{name}: {file}", highlight=False, soft_wrap=True)
    command = shlex.join([sys.executable, "-m", "wapo_verl.cli", "view", str(folders.out)])
    console.print(f"look at its episodes: {command}", highlight=False, soft_wrap=True)


def _forget_the_last_run(folders: Folders) -> None:
    """Remove the results of the last run, so that they are not taken for this one's after a failure."""
    for folder in (folders.validation, folders.rollouts):
        shutil.rmtree(folder, ignore_errors=True)
    for file in (folders.metrics, folders.report, folders.curves):
        file.unlink(missing_ok=True)


def _questions(folders: Folders, rows: Sequence[Row]) -> int:
    """Count the questions of the first validation; 0 without one."""
    return next((len(episodes_view.read_dump(_dump(folders, row))) for row in rows if row.held_out is not None), 0)


def _dump(folders: Folders, row: Row) -> Path:
    return folders.validation / f"{row.step}.jsonl"


def _show_failure(training: Training, folders: Folders, console: Console) -> None:
    log = folders.log.read_text(encoding="utf-8", errors="replace")
    for line in last_errors(log):
        console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"veRL failed with status {training.status} after {training.seconds:.0f} s; its whole output: {folders.log}",
        style="bold red",
        highlight=False,
        soft_wrap=True,
    )
