"""What each step of a run asked: one line a step in a file beside the records, so that a whole run is read at once.

Records of a long run are tens of gigabytes; their index is about 15 KB a step. The trainer adds a step's line as it
writes the step's records, and the viewer adds the lines that are missing or out of date. A later line of a step takes
the place of an earlier one. Whoever deletes the file loses nothing but the time to make it again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from wapo_verl.data.episode_record import as_mapping, as_number, gold_documents, group_key

INDEX_FILE = "questions.index"
"""The file's name, in the folder of the records."""

VERSION = 1
"""The version of its lines; lines of another version count as missing."""

MOST_TEXT = 300
"""Characters of a question that are kept, its last ones: a system prompt comes first."""

_MARK = re.compile(r"<\|[^|>]{1,40}\|>")


def question_text(prompt: str) -> str:
    """Return a prompt in one line, without the marks of a chat template, which veRL's own dumps leave out."""
    return " ".join(_MARK.sub(" ", prompt).split())


def question_id(prompt: str) -> str:
    """Return a question's name, the same at every step and in every run that asks it."""
    return blake2b(question_text(prompt).encode("utf-8", "replace"), digest_size=8).hexdigest()


class Group(msgspec.Struct, gc=False):
    """A group of a step.

    Attributes:
        group: its name.
        id: its question's.
        text: of the question.
        scores: rewards of its completions, without those that failed.
        failed: completions that failed.
        gold: gold document -> completions that needed it, and those of them that missed it.
    """

    group: str
    id: str
    text: str
    scores: list[float] = []
    failed: int = 0
    gold: dict[str, tuple[int, int]] = {}

    def add(self, line: Mapping[str, Any]) -> None:
        """Count a completion."""
        score = as_number(line.get("score"))
        if score is None or not math.isfinite(score):
            self.failed += 1
        else:
            self.scores.append(round(score, 6))
        if not as_mapping(line.get("episode")):
            return
        gold, missed = gold_documents(line)
        for name in gold:
            wanted, times = self.gold.get(name, (0, 0))
            self.gold[name] = (wanted + 1, times + (name in missed))


class Entry(msgspec.Struct, gc=False):
    """The index's line of a step.

    Attributes:
        step: its number.
        size: bytes of the file of its records; where the file has another size, the line is out of date.
        groups: its groups, in the file's order.
        version: of the line.
    """

    step: int
    size: int
    groups: list[Group]
    version: int = VERSION


def step_entry(step: int, size: int, lines: Iterable[Mapping[str, Any]]) -> Entry:
    """Return the index's line of a step.

    Args:
        step: its number.
        size: bytes of the file of its records.
        lines: its records; their tokens and turns are not looked at.
    """
    groups: dict[str, Group] = {}
    for place, line in enumerate(lines):
        name = group_key(line, place)
        if name not in groups:
            text = question_text(str(line.get("input", "")))
            groups[name] = Group(name, question_id(text), text[-MOST_TEXT:])
        groups[name].add(line)
    return Entry(step, size, list(groups.values()))


def add_entry(folder: Path, entry: Entry) -> None:
    """Write a step's line at the end of a folder's index, by one write, so that two writers do not mix.

    Raises:
        OSError: where the folder cannot be written.
    """
    line = msgspec.json.encode(entry) + b"\n"
    with (folder / INDEX_FILE).open("ab", buffering=0) as file:
        file.write(line)


def read_entries(folder: Path, place: int) -> tuple[list[Entry], int]:
    """Return the lines of a folder's index from a byte on, and the byte at which the next reading begins.

    A line that is damaged (the disk was full) or of another version is passed over, as if it had not been written.
    """
    try:
        with (folder / INDEX_FILE).open("rb") as file:
            file.seek(place)
            whole, feed, _ = file.read().rpartition(b"\n")
    except OSError:
        return [], place
    return [entry for line in whole.split(b"\n") if (entry := _entry(line)) is not None], place + len(whole + feed)


def _entry(line: bytes) -> Entry | None:
    try:
        read = _decoder.decode(line)
    except ValueError:  # msgspec's errors are such
        return None
    return read if read.version == VERSION else None


_decoder = msgspec.json.Decoder(Entry)


def indexed_lines(
    inputs: Sequence[Any], gts: Sequence[Any], scores: Sequence[Any], columns: Mapping[str, Sequence[Any]]
) -> list[dict[str, Any]]:
    """Return what `step_entry` looks at of the columns from which veRL writes a dump."""
    uids, episodes = (columns.get(name, [None] * len(inputs)) for name in ("uid", "episode"))
    rows = zip(inputs, gts, scores, uids, episodes, strict=True)
    return [
        {"input": text, "gts": truth, "score": score, "uid": uid, "episode": episode}
        for text, truth, score, uid, episode in rows
    ]
