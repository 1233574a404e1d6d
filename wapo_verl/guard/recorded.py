"""Read the metrics of a run that is recorded, step by step: veRL's file logger, or a CSV. No veRL, no torch.

The file logger (`trainer.logger=[console,file]`) writes `{"step": 7, "data": {"critic/score/mean": 0.5, ...}}` a line,
with null for a number that is not finite. A CSV has one row a step, and may be an export of Weights & Biases: the
history of a run, or the data of a chart, whose columns are named `RUN - METRIC`.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wapo_verl.guard.rules import MUST_BE_FINITE, RULES
from wapo_verl.guard.thresholds import Thresholds

Step = tuple[int, dict[str, float]]
"""A step's number, and its metrics."""

STEP_COLUMNS = ("step", "_step", "Step")
"""The names that a CSV's column of steps may have; the first that is there counts."""

_READ = frozenset(rule.metric for rule in RULES if rule.metric is not None)
_EXPECTED = 'the file of veRL\'s file logger ({"step": 7, "data": {...}} a line), or a CSV with a column of steps'


@dataclass(frozen=True, slots=True)
class Recorded:
    """A run's steps in order, each once, with the metrics that a rule reads; and what a reader should know of them."""

    steps: list[Step]
    notes: list[str]

    @property
    def numbers(self) -> list[int]:
        """The steps' numbers, without step 0, which is before any training."""
        return [step for step, _ in self.steps if step]


def read_steps(file: Path) -> Recorded:
    """Read a file of metrics; what is in it, and not its name, tells its format.

    Raises:
        OSError: where it cannot be read.
        ValueError: where it is a folder, empty, damaged, or neither format; the message names the line.
    """
    if file.is_dir():
        raise ValueError(f"{file} is a folder: give {_EXPECTED}")
    content = file.read_bytes()
    if not content.strip():
        raise ValueError(f"{file} is empty: give {_EXPECTED}")
    notes: list[str] = []
    if content.lstrip().startswith(b"{"):
        steps = _as_made(_of_json_lines(content, file, notes), notes)
    else:
        steps = _as_made(sorted(_of_csv(content, file), key=lambda row: row[0]), notes)
    run = Recorded(steps, notes)
    if not run.numbers:
        raise ValueError(f"{file} holds no step of training: give the file of a run that has finished its first one")
    if run.numbers[0] > 1:
        notes.append(
            f"The run's start is not in the file: what is measured from it is measured from step {run.numbers[0]}."
        )
    shortest = Thresholds().baseline_steps + Thresholds().patience
    if len(run.numbers) < shortest:
        notes.append(f"A rule that compares with the run's start cannot alarm in fewer than {shortest} steps.")
    return run


def _as_made(rows: Iterable[Step], notes: list[str]) -> list[Step]:
    """Return each step once: where a resumed run made steps again, those that it made first are dropped."""
    steps: dict[int, dict[str, float]] = {}
    for step, metrics in rows:
        dropped = 0
        while steps and next(reversed(steps)) > step:
            steps.popitem()
            dropped += 1
        if dropped:
            notes.append(
                f"The file goes back to step {step}: later steps that stood before it ({dropped}) do not count."
            )
        steps.setdefault(step, {}).update(metrics)
    return list(steps.items())


def _of_json_lines(content: bytes, file: Path, notes: list[str]) -> Iterator[Step]:
    lines = [(number, line) for number, line in enumerate(content.split(b"\n"), 1) if line.strip()]
    for number, line in lines:
        where = f"{file}, line {number},"
        try:
            step, data = step_of_line(line, where)
        except DamagedLine:
            if number < lines[-1][0]:
                raise
            notes.append(f"Line {number}, the last, is damaged and passed over: the run was killed, or writes it now.")
            return
        numbers = {name: math.nan if number is None else number for name, number in data.items() if _is_read(name)}
        yield step, {name: float(number) for name, number in numbers.items() if _is_number(name, number, where)}


class DamagedLine(ValueError):
    """A line that is not JSON."""


def step_of_line(line: bytes | str, where: str = "the line") -> tuple[int, dict[str, Any]]:
    """Read one line of veRL's file logger: a step, and its metrics as they stand there, None for what is not finite.

    Args:
        line: the line.
        where: what an error's sentence begins with.

    Raises:
        DamagedLine: where it is not JSON.
        ValueError: where it is something else than a step's metrics.
    """
    try:
        value = json.loads(line, parse_int=float)
    except (ValueError, RecursionError) as error:
        raise DamagedLine(f"{where} is not JSON ({error}): remove the line") from error
    if not isinstance(value, dict) or "step" not in value or not isinstance(value.get("data"), dict):
        raise ValueError(f"{where} is not a step's metrics: give {_EXPECTED}")
    return _number_of_step(value["step"], where), value["data"]


def _of_csv(content: bytes, file: Path) -> Iterator[Step]:
    try:
        rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        header = _metric_names(next(rows), file)
        place = next((header.index(name) for name in STEP_COLUMNS if name in header), None)
        if place is None:
            raise ValueError(
                f"{file} has no column of steps ({', '.join(STEP_COLUMNS)}), its first line is "
                f"{','.join(header)[:80]!r}: give {_EXPECTED}"
            )
        for cells in rows:
            if cells:
                yield _step_of_cells(header, cells, place, f"{file}, line {rows.line_num},")
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is no CSV ({error}): give {_EXPECTED}") from error


def _metric_names(header: list[str], file: Path) -> list[str]:
    """Return the columns' names without the run's, which the data of a chart have before them."""
    names = [name.rpartition(" - ")[2] for name in header]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{file}, line 1, has the column {twice!r} twice: export the metrics of one run")
    return names


def _step_of_cells(header: list[str], cells: list[str], place: int, where: str) -> Step:
    if len(cells) != len(header):
        raise ValueError(f"{where} has {len(cells)} cells and the first line {len(header)}: write the file again")
    numbers = {name: _of_text(cell) for name, cell in zip(header, cells, strict=True) if cell.strip()}
    metrics = {name: number for name, number in numbers.items() if _is_read(name) and _is_number(name, number, where)}
    return _number_of_step(numbers.get(header[place]), where), {name: float(metrics[name]) for name in metrics}


def _of_text(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def _is_read(name: str) -> bool:
    return name in _READ or name.startswith(MUST_BE_FINITE)


def _is_number(name: str, value: object, where: str) -> bool:
    """Tell whether a metric is a number; raises ValueError where it is none and a rule of its own reads it."""
    is_number = isinstance(value, int | float)
    if not is_number and name in _READ:
        raise ValueError(f"{where} {name} is no number but {str(value)[:40]!r}: write the file again")
    return is_number


def _number_of_step(value: object, where: str) -> int:
    if not isinstance(value, float) or not value.is_integer() or value < 0:
        raise ValueError(f"{where} has the step {value!r}, which is no whole number from 0: remove the line")
    return int(value)
