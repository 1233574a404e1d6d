"""What an evaluation's file of samples holds already, and keeping it whole when it is resumed."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from wapo_verl.evaluation.reading import cut_line, whole_lines
from wapo_verl.evaluation.records import VERSION


class _Known(msgspec.Struct, gc=False):
    version: int
    data_source: str
    question_id: str
    sample: int
    failure: str | None
    answer: str | None
    vote: int | None


_DECODER = msgspec.json.Decoder(_Known)


@dataclass(slots=True)
class Progress:
    """The samples that are there.

    Attributes:
        samples: (data source, question id) -> the numbers of its samples.
        votes: (data source, question id) -> answer -> label.
        failed: how many of them failed.
    """

    samples: dict[tuple[str, str], set[int]] = field(default_factory=lambda: defaultdict(set))
    votes: dict[tuple[str, str], dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    failed: int = 0

    @property
    def count(self) -> int:
        """How many samples are there."""
        return sum(map(len, self.samples.values()))


def read_progress(file: Path, ask_failed_again: bool = False) -> Progress:
    """Read which samples a file holds, and take out of it what a resumed evaluation will write again.

    That is a line that a killed writer did not finish, a sample that is there a second time, and the failed ones where
    they are to be asked again. Nothing else is touched, and the file is replaced in one move.

    Args:
        file: the file of samples; it need not be there.
        ask_failed_again: take failed samples out.

    Raises:
        ValueError: for a line that is no sample of this version.
        OSError: when the file cannot be read or written.
    """
    found, kept_all = Progress(), True
    if not file.is_file() or not file.stat().st_size:
        return found
    unfinished = file.with_name(f".{file.name}")
    number = 0
    with unfinished.open("wb") as stream:
        for block in whole_lines(file):
            for line in bytes(block).split(b"\n")[:-1]:
                number += 1
                keeps = _take(found, _read(line, file, number), ask_failed_again)
                kept_all &= keeps
                if keeps:
                    stream.write(line + b"\n")
    if kept_all and not cut_line(file):
        unfinished.unlink()
    else:
        unfinished.replace(file)
    return found


def _read(line: bytes, file: Path, number: int) -> _Known:
    try:
        known = _DECODER.decode(line)
    except msgspec.MsgspecError as error:
        raise ValueError(
            f"{file}, line {number}, is no sample ({error}); take it out, or give another --out"
        ) from error
    if known.version != VERSION:
        raise ValueError(f"{file}, line {number}, has version {known.version}, not {VERSION}; give another --out")
    return known


def _take(found: Progress, known: _Known, ask_failed_again: bool) -> bool:
    """Note a sample; return whether its line stays."""
    key = (known.data_source, known.question_id)
    if known.sample in found.samples[key] or (ask_failed_again and known.failure is not None):
        return False
    found.samples[key].add(known.sample)
    found.failed += known.failure is not None
    if known.answer is not None and known.vote is not None:
        found.votes[key][known.answer] = known.vote
    return True
