"""Files with one JSON value a line, as veRL dumps rollouts and validations and its file logger writes metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_json_lines(file: Path) -> list[Any]:
    """Read the values of a UTF-8 file's lines, in order.

    A line ends at a line feed and nowhere else: decoded text stands in veRL's dumps unescaped, with whatever else
    `str.splitlines` would take for an end, such as U+2028.

    Raises:
        FileNotFoundError: where the file is not there.
        ValueError: for a line that is not JSON; the message names the file and the line.
    """
    return [_value(line, file, number) for number, line in enumerate(_lines(file), start=1)]


def _lines(file: Path) -> list[str]:
    *lines, rest = file.read_bytes().decode().split("\n")
    return [*lines, rest] if rest else lines


def _value(line: str, file: Path, number: int) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise ValueError(
            f"{file}, line {number}, is not JSON ({error}); remove the line, or write the file again"
        ) from error
