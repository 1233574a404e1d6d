"""The files of a study: one JSON-lines file a run, with a header and then one object a step.

`OUT/cells/NAME.jsonl`: line 1 is `{"cell": {...}, "settings": {...}, "seconds": {...}, "complete": true}`; each further
line has "step" (0 is before any update and has the first validation only) and that step's metrics. A file appears under
its name when its run is over, so every file there is whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.study.settings import Cell, StudySettings
from wapo_verl.data.json_lines import read_json_lines

REWARD = "critic/score/mean"
"""The share of a step's sampled episodes that were right."""
HELD_OUT = "val/exact_match"
"""The share of held-out questions that were answered right, where there was a validation."""
ADDED_LATER = {"mistake_share": 0.55}
ADDED_LATER_TO_TASK = {"passage_tokens": 42}
"""Settings that records from before them do not name, with the values that those runs had."""

ENTROPY = "actor/entropy"
"""Nats a token, mean over the tokens that the policy wrote."""


@dataclass(frozen=True, slots=True)
class Record:
    """One finished run.

    Attributes:
        cell: which run it is.
        settings: what the study's runs share, as plain types.
        steps: one mapping of metrics a step, in order, each with "step".
        seconds: of the run, "wall" and "cpu".
    """

    cell: Cell
    settings: Mapping[str, Any]
    steps: tuple[Mapping[str, float], ...]
    seconds: Mapping[str, float]

    def curve(self, metric: str) -> list[tuple[int, float]]:
        """(step, value) wherever the metric was recorded."""
        return [(int(step["step"]), float(step[metric])) for step in self.steps if metric in step]


def cells_folder(out: Path) -> Path:
    """Where the runs' files lie."""
    return out / "cells"


def record_file(out: Path, cell: Cell) -> Path:
    """The run's file."""
    return cells_folder(out) / f"{cell.name}.jsonl"


def write_record(
    out: Path, cell: Cell, settings: StudySettings, steps: Sequence[Mapping[str, Any]], seconds: Mapping[str, float]
) -> Path:
    """Write a finished run beside its place and move it there."""
    file = record_file(out, cell)
    file.parent.mkdir(parents=True, exist_ok=True)
    header = {"cell": asdict(cell), "settings": settings.to_record(), "seconds": dict(seconds), "complete": True}
    working = file.with_name(f".{file.name}.{os.getpid()}")
    working.write_text("".join(json.dumps(line) + "\n" for line in (header, *steps)))
    working.rename(file)
    return file


def read_record(file: Path) -> Record:
    """Read a run's file.

    Raises:
        ValueError: where it is no complete record; the message names the file and the fix.
    """
    try:
        header, *steps = read_json_lines(file)
        if not header["complete"] or not steps:
            raise KeyError("complete")
        return Record(Cell(**header["cell"]), _completed(header["settings"]), tuple(steps), header["seconds"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file} is no complete record of a run ({error!r}); remove it and run the study again"
        ) from error


def read_records(out: Path) -> list[Record]:
    """All finished runs under `out`, sorted by name.

    Raises:
        ValueError: where there is none, a file is no record, or two were made with other settings.
    """
    files = sorted(cells_folder(out).glob("*.jsonl"))
    if not files:
        raise ValueError(
            f"{cells_folder(out)} holds no finished run; run `python -m benchmarks.study --out {out}` first"
        )
    records = [read_record(file) for file in files]
    for file, record in zip(files, records, strict=True):
        if same_training(record.settings) != same_training(records[0].settings):
            raise ValueError(
                f"{file} and {files[0]} were made with other settings, which a table must not mix: move one away"
            )
    return records


def same_training(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings that decide the training: all but the number of questions that pass@k is measured on."""
    return {name: value for name, value in settings.items() if name != "pass_questions"}


def _completed(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**ADDED_LATER, **settings, "task": {**ADDED_LATER_TO_TASK, **settings["task"]}}


def is_finished(out: Path, cell: Cell, settings: StudySettings) -> bool:
    """Whether the run is there, made with these settings.

    Raises:
        ValueError: where it was made with others: a table must not mix them.
    """
    file = record_file(out, cell)
    if not file.is_file():
        return False
    if same_training(read_record(file).settings) != same_training(json.loads(json.dumps(settings.to_record()))):
        raise ValueError(f"{file} was made with other settings; give another --out, or remove it")
    return True
