"""Reads an evaluation: what `wapo-verl eval` wrote, or what veRL dumped of rollouts and validations."""

from __future__ import annotations

import json
import math
import mmap
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from wapo_verl.evaluation.manifest import EvaluationManifest, read_manifest
from wapo_verl.evaluation.records import SAMPLES_FILE, VERSION, Line
from wapo_verl.evaluation.samples import SampleColumns, Samples
from wapo_verl.evaluation.verl_dumps import is_dump, read_dump

_BLOCK = 16 << 20  # bytes decoded at once
_DECODER = msgspec.json.Decoder(Line)


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """One model's samples.

    Attributes:
        name: as tables show it.
        file: where they were read from.
        sources: data source -> its samples, by name.
        notes: sentences about what was left out.
        manifest: how it was made; None for a file without one beside it.
    """

    name: str
    file: Path
    sources: dict[str, Samples]
    notes: tuple[str, ...] = ()
    manifest: EvaluationManifest | None = None


def read_evaluation(place: Path, environment: str | None = None) -> Evaluation:
    """Read an evaluation.

    Args:
        place: a folder that `wapo-verl eval` wrote, its file of samples, or a file of veRL's dumps
            (`trainer.validation_data_dir`, `trainer.rollout_data_dir`).
        environment: for a dump, which does not say it: the environment whose rows these are. It tells which answers
            are the same.

    Raises:
        ValueError: for a file that is damaged, of another format or version, or without a sample, and where an
            environment is named for a file that is no dump; the sentence names file and line.
        OSError: when it cannot be read.
    """
    file = samples_file(place)
    first = first_value(file)
    if "version" in first:
        refuse_environment(file, environment)
    try:
        if "version" in first:
            sources, notes = _read_samples(file)
        elif is_dump(first):
            sources, notes = read_dump(file, environment)
        else:
            raise ValueError(
                f"line 1 is neither of `wapo-verl eval` nor of veRL's dumps: its keys are {', '.join(first) or 'none'}"
            )
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    manifest = read_manifest(file.parent) if file.name == SAMPLES_FILE else None
    return Evaluation(_name(place), file, sources, tuple(notes), manifest)


def refuse_environment(file: Path, environment: str | None) -> None:
    """Raise ValueError where an environment is named for samples of `wapo-verl eval`, each of which says its own."""
    if environment is not None:
        raise ValueError(
            f"{file} is of `wapo-verl eval`, whose samples say their environments: leave --env {environment} out"
        )


def samples_file(place: Path) -> Path:
    """Return the file that a folder of `wapo-verl eval` or a file's own path names.

    Raises:
        ValueError: where there is none.
    """
    file = place / SAMPLES_FILE if place.is_dir() else place
    if not file.is_file():
        hint = f"it holds no {SAMPLES_FILE}" if place.is_dir() else "there is no such file"
        raise ValueError(
            f"{place} is no evaluation, {hint}: give a folder that `wapo-verl eval` wrote, or a dump STEP.jsonl"
        )
    return file


def _name(place: Path) -> str:
    parent = place.absolute()
    return parent.parent.name if parent.name == SAMPLES_FILE else parent.stem if place.is_file() else parent.name


def first_value(file: Path) -> dict[str, Any]:
    """Return the object on a file's first line; raises ValueError, naming the file, where there is none."""
    with file.open("rb") as stream:
        line = stream.readline()
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        problem = "it is empty" if not line else f"line 1 is no JSON ({error})"
        raise ValueError(f"{file}: {problem}, so there is no sample to read") from error
    if not isinstance(value, dict):
        raise ValueError(f"{file}: line 1 is no JSON object, so it is no file of samples")
    return value


def _read_samples(file: Path) -> tuple[dict[str, Samples], list[str]]:
    """Return the samples of a file that `wapo-verl eval` wrote."""
    columns: dict[str, SampleColumns] = {}
    number = 1
    for block in whole_lines(file):
        lines = _decoded(block, number)
        numbers = np.arange(number, number + len(lines))
        number += len(lines)
        for source in {line.data_source for line in lines}:
            chosen = [place for place, line in enumerate(lines) if line.data_source == source]
            columns.setdefault(source, SampleColumns(source)).add([lines[place] for place in chosen], numbers[chosen])
    if not columns:
        raise ValueError("it holds no whole sample")
    cut = cut_line(file)
    note = [f"{file}: its last line is cut off and was left out, as a killed writer leaves it"] if cut else []
    return {source: columns[source].samples() for source in sorted(columns)}, note


def whole_lines(file: Path) -> Iterator[memoryview]:
    """Read a file in blocks of whole lines; what stands behind the last line feed is not among them."""
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start, stop = len(BOM_UTF8) if content[:3] == BOM_UTF8 else 0, len(content) - cut_line(file)
        while start < stop:
            end = content.rfind(b"\n", start, min(stop, start + _BLOCK)) + 1
            end = end or content.find(b"\n", start + _BLOCK, stop) + 1  # a line longer than a block
            with memoryview(content)[start:end] as block:
                yield block
            start = end


def cut_line(file: Path) -> int:
    """Return how many bytes stand behind a file's last line feed: a line that its writer did not finish."""
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return len(content) - content.rfind(b"\n") - 1


def _decoded(block: memoryview, number: int) -> Sequence[Line]:
    """Return the lines of a block whose first line has that number."""
    try:
        lines = _DECODER.decode_lines(block)
    except (msgspec.MsgspecError, RecursionError):
        lines = [_one(line, number + place) for place, line in enumerate(bytes(block).split(b"\n")[:-1])]
    for place, line in enumerate(lines):
        if line.version != VERSION:
            raise ValueError(_other_version(line.version, number + place))
    return lines


def _one(line: bytes, number: int) -> Line:
    """Return one line's value, or say what is wrong with it."""
    try:
        return _DECODER.decode(line)
    except (msgspec.MsgspecError, RecursionError) as error:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            raise ValueError(f"line {number} is no JSON ({error}); take the line out") from error
        if isinstance(value, dict) and value.get("version", VERSION) != VERSION:
            raise ValueError(_other_version(value["version"], number)) from error
        for name, score in (value.get("scores") or {}).items() if isinstance(value, dict) else ():
            if isinstance(score, float) and not math.isfinite(score):
                raise ValueError(
                    f"line {number}: the score {name!r} of sample {value.get('sample')} of question "
                    f"{value.get('question_id')!r} is {score}; score it again with `wapo-verl rescore`"
                ) from error
        raise ValueError(f"line {number} is no sample: {error}") from error


def _other_version(version: object, number: int) -> str:
    return (
        f"line {number} has version {version!r} of the format, and this wapo-verl reads version {VERSION}; "
        "read it with the wapo-verl that wrote it"
    )
