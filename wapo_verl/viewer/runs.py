"""What a folder holds: metrics by step, and records by step, of one or several runs. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from wapo_verl.evaluation.records import SAMPLES_FILE
from wapo_verl.guard.recorded import step_of_line

DEEPEST = 4
"""How far below a given folder runs are looked for; a run's own records are in it or in folders of it."""

_NAMED = 3  # runs, in a sentence about them

SKIPPED = {"checkpoints", "index", "model", "hydra", "data", "tensorboard"}
RULE = "stability/rule/"
"""The guard's metrics: 1 at a step at which the rule alarms."""


class ViewError(ValueError):
    """A path that cannot be shown; the message says why, and what can be."""


@dataclass(frozen=True, slots=True)
class RecordSet:
    """The files `STEP.jsonl` of one folder, or one file of an evaluation.

    Attributes:
        name: the folder's path below the run, such as `rollouts` or `validation`.
        folder: where the files are.
        single: the file of an evaluation, which is step 0 of its set.
    """

    name: str
    folder: Path
    single: Path | None = None

    def steps(self) -> list[int]:
        """Return the steps that there are, in order; looked up anew, since a run may be writing."""
        if self.single is not None:
            return [0]
        return sorted(int(file.stem) for file in self.folder.glob("*.jsonl") if _is_step(file))

    def file(self, step: int) -> Path:
        """Return the file of a step."""
        return self.single or self.folder / f"{step}.jsonl"


@dataclass
class Run:
    """One run, or one evaluation.

    Attributes:
        name: as it is shown.
        folder: where it is.
        metrics_file: veRL's file logger's lines, or None.
        sets: its records.
    """

    name: str
    folder: Path
    metrics_file: Path | None = None
    sets: list[RecordSet] = field(default_factory=list)
    _metrics: dict[int, dict[str, float]] = field(default_factory=dict, repr=False)
    _read: int = field(default=0, repr=False)

    @cached_property
    def by_name(self) -> Mapping[str, RecordSet]:
        """The sets by name."""
        return {each.name: each for each in self.sets}

    def records(self, name: str) -> RecordSet:
        """Return the set of a name.

        Raises:
            ViewError: where the run has none of that name.
        """
        if not self.sets:
            raise ViewError(
                f"{self.name} has metrics alone: trainer.rollout_data_dir=... makes a run write its completions"
            )
        if name not in self.by_name:
            raise ViewError(f"{self.name} has no records {name!r}; it has {', '.join(self.by_name)}")
        return self.by_name[name]

    def chosen(self, name: str | None, step: int | None) -> tuple[str, int]:
        """Return the set and the step that a user asks for: the first set and its last step where nothing is said.

        Raises:
            ViewError: where the run has no such set or step.
        """
        name = name or next(iter(self.by_name), "")
        steps = self.records(name).steps()
        if step is not None and step not in steps:
            raise ViewError(f"{self.name} has no step {step} of {name}; it has {steps[0]} to {steps[-1]}")
        return name, steps[-1] if step is None else step

    def metrics(self) -> dict[int, dict[str, float]]:
        """Return the numbers of each step; of a file that grows, what is new is read and nothing twice.

        A last line without its line feed is still being written and is left for the next call.
        """
        if self.metrics_file is None:
            return {}
        if self.metrics_file.stat().st_size < self._read:  # written anew: a run that was started again
            self._metrics, self._read = {}, 0
        with self.metrics_file.open("rb") as file:
            file.seek(self._read)
            whole, feed, _ = file.read().rpartition(b"\n")
        self._read += len(whole) + len(feed)
        for line in whole.split(b"\n"):
            if line.strip():
                step, numbers = _metrics_line(line, self.metrics_file)
                self._metrics.setdefault(step, {}).update(numbers)
        return self._metrics

    def alarms(self) -> list[dict[str, Any]]:
        """Return each alarm of the guard: its rule, the step at which it began, and the one at which it ended."""
        found: list[dict[str, Any]] = []
        active: dict[str, dict[str, Any]] = {}
        for step, numbers in sorted(self.metrics().items()):
            for name, value in numbers.items():
                if not name.startswith(RULE):
                    continue
                rule = name.removeprefix(RULE)
                if value and rule not in active:
                    active[rule] = {"rule": rule, "step": step, "until": step}
                    found.append(active[rule])
                elif value:
                    active[rule]["until"] = step
                else:
                    active.pop(rule, None)
        return found

    def described(self) -> dict[str, Any]:
        """Return what the first page says of the run."""
        return {
            "name": self.name,
            "folder": str(self.folder),
            "sets": [{"name": each.name, "steps": each.steps()} for each in self.sets],
            "alarms": self.alarms(),
            "steps": len(self.metrics()),
        }

    def columns(self) -> dict[str, Any]:
        """Return the metrics by column: the steps, and for each metric one number or null a step."""
        by_step = sorted(self.metrics().items())
        names = sorted({name for _, numbers in by_step for name in numbers})
        return {
            "steps": [step for step, _ in by_step],
            "values": {name: [numbers.get(name) for _, numbers in by_step] for name in names},
        }


def _metrics_line(line: bytes, file: Path) -> tuple[int, dict[str, float]]:
    try:
        step, data = step_of_line(line)
    except ValueError as error:
        raise ViewError(f"{file} has a line that is not a step's metrics ({line[:60]!r}...): {error}") from error
    return step, {name: float(value) for name, value in data.items() if isinstance(value, int | float)}


def open_runs(paths: list[Path]) -> list[Run]:
    """Find the runs at some paths.

    Args:
        paths: folders of runs, folders that hold several, or files of an evaluation.

    Raises:
        ViewError: for a path that is not there or holds nothing that can be shown.
    """
    runs = [run for path in paths for run in _runs_at(path.absolute())]
    taken: dict[str, int] = {}
    for run in runs:
        taken[run.name] = taken.get(run.name, 0) + 1
        if taken[run.name] > 1:
            run.name = f"{run.name} ({taken[run.name]})"
    return runs


def open_run(path: Path) -> Run:
    """Find the one run at a path.

    Raises:
        ViewError: as `open_runs`, and where there are several.
    """
    runs = open_runs([path])
    if len(runs) > 1:
        names = ", ".join(str(run.folder) for run in runs[:_NAMED]) + (", ..." if len(runs) > _NAMED else "")
        raise ViewError(f"{path} holds {len(runs)} runs: give one of them, such as {names}")
    return runs[0]


def _runs_at(path: Path) -> list[Run]:
    if path.is_file():
        return [Run(path.name, path.parent, None, [RecordSet(path.stem, path.parent, single=path)])]
    if not path.is_dir():
        raise ViewError(f"{path} is not there: give the folder of a run or of an evaluation, or a file of records")
    found = list(_runs_below(path, DEEPEST))
    if not found:
        raise ViewError(
            f"{path} holds neither metrics nor records: a run writes them with trainer.logger=[console,file], "
            "trainer.rollout_data_dir=... and trainer.validation_data_dir=..."
        )
    return found


def _runs_below(folder: Path, deep: int) -> Iterator[Run]:
    run = _run(folder)
    if run.sets or run.metrics_file:
        yield run
    elif deep:
        for child in _folders(folder):
            yield from _runs_below(child, deep - 1)


def _folders(folder: Path) -> list[Path]:
    return [each for each in sorted(folder.iterdir()) if each.is_dir() and each.name not in SKIPPED]


def _run(folder: Path) -> Run:
    run = Run(folder.name, folder)
    if (folder / SAMPLES_FILE).is_file():
        run.sets.append(RecordSet("samples", folder, single=folder / SAMPLES_FILE))
    for place in (folder, *_folders(folder)):
        files = sorted(place.glob("*.jsonl"))
        if any(map(_is_step, files)):
            run.sets.append(RecordSet("records" if place == folder else place.name, place))
        if place == folder:
            others = (file for file in files if not _is_step(file))
            run.metrics_file = next((file for file in others if _is_metrics(file)), None)
    return run


def _is_step(file: Path) -> bool:
    return file.stem.isascii() and file.stem.isdigit()


def _is_metrics(file: Path) -> bool:
    with file.open("rb") as opened:
        line = opened.readline(1 << 20)
    try:
        step_of_line(line)
    except ValueError:
        return False
    return True
