"""Scoring files of predictions as a benchmark's own script does: what all of them share.

A script reads predictions and a reference in upstream's formats and gives upstream's numbers under upstream's names.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class FileScores:
    """What a file of predictions scores.

    Attributes:
        metrics: upstream's name -> upstream's number.
        notes: what upstream's script warns of or passes over, as text -> how often ("missing answer" -> 3).
    """

    metrics: Mapping[str, float]
    notes: Mapping[str, int] = field(default_factory=dict)


def read_json(file: Path) -> Any:
    """Read the JSON value in a file.

    Raises:
        ValueError: when it is no JSON.
        OSError: when it cannot be read.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no JSON text ({error}); give the file as upstream's script takes it") from error


def unknown_ids(predicted: Collection[str], asked: Collection[str]) -> dict[str, int]:
    """Return the note on predictions for questions that the reference does not ask; they change no number.

    HotpotQA's script passes over them without a word, and OTT-QA's fails; a file of predictions for more questions than
    the reference has is common, and the numbers are over the reference's questions in both.
    """
    unknown = [id_ for id_ in predicted if id_ not in asked]
    return (
        {f"id that the reference does not have, passed over (such as {unknown[0]!r})": len(unknown)} if unknown else {}
    )


def text_of(value: Any, what: str, file: Path) -> str:
    """Return ``value`` if it is text.

    Raises:
        ValueError: when it is not, naming what it is and the file.
    """
    if not isinstance(value, str):
        raise ValueError(f"{what} in {file} must be text, not {value!r:.60}")
    return value
