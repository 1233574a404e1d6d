"""Opening plain and compressed files, and reading JSON out of them piece by piece, with errors that say where.

`json_lines` reads a value a line; `json_members` and `json_items` walk through one huge object or array without ever
holding more than one member of it. Numbers beyond 64 bits are refused, and an escaped lone surrogate, which is no text,
is read as "?".
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import ijson  # type: ignore[import-untyped]

from retrieval_index.errors import CorpusError

CHUNK = 1 << 16
"""Bytes read at a time."""

MAX_ROW = 1 << 28
"""Bytes one member may have; of a file that is broken in the middle no more than that is held in search of an end."""


class Meter:
    """How much of a corpus's files has been read, in bytes on the disk, packed as they are there."""

    def __init__(self, files: Iterable[Path]) -> None:
        self.total = sum(path.stat().st_size for path in files)
        self.restart()

    def restart(self) -> None:
        """Return the files are read again from the first one."""
        self._before = 0
        self._reading: BinaryIO | None = None

    @contextmanager
    def measuring(self, file: BinaryIO) -> Iterator[None]:
        """Count what is read of `file`."""
        self._reading, size = file, os.fstat(file.fileno()).st_size
        try:
            yield
        finally:
            self._reading = None
            self._before += size

    def share(self) -> float:
        """From 0 to 1."""
        read = self._before + (self._reading.tell() if self._reading is not None else 0)
        return read / self.total if self.total else 1.0


@contextmanager
def open_packed(path: Path, meter: Meter | None = None) -> Iterator[BinaryIO]:
    """Open a file as it is on the disk. Raises CorpusError when it is missing, or for what reading it raises."""
    try:
        with path.open("rb") as file:
            if meter is None:
                yield file
            else:
                with meter.measuring(file):
                    yield file
    except FileNotFoundError:
        raise CorpusError(f"{path} does not exist: check the path of the corpus") from None
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8 text ({error}): convert it or download it again") from error
    except (EOFError, OSError, zlib.error) as error:
        raise CorpusError(f"{path} cannot be read ({error}): download it again") from error


@contextmanager
def open_unpacked(path: Path, meter: Meter | None = None) -> Iterator[BinaryIO]:
    """Open a file, unpacking .gz and .bz2. Raises CorpusError when it is missing or cut short."""
    opener: Any = {".gz": gzip.open, ".bz2": bz2.open}.get(path.suffix)
    with open_packed(path, meter) as file:
        if opener is None:
            yield file
        else:
            with opener(file) as unpacked:
                yield unpacked


@contextmanager
def open_text(path: Path, meter: Meter | None = None) -> Iterator[TextIO]:
    """Open a UTF-8 text file, unpacking .gz and .bz2. Raises CorpusError when it is missing, cut short or not UTF-8."""
    with open_unpacked(path, meter) as file, io.TextIOWrapper(file, encoding="utf-8") as text:
        yield text


def json_lines(lines: Iterable[str], name: str) -> Iterator[tuple[str, Any]]:
    """Each line's place ("file, line 3") and value; blank lines are passed over."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{name}, line {number}"
        try:
            yield place, json.loads(line)
        except ValueError as error:
            raise CorpusError(f"{place} is not JSON ({error}): fix or remove the line") from error


def json_members(path: Path, meter: Meter | None = None) -> Iterator[tuple[str, Any]]:
    """Return the keys and values of the one JSON object in a file, in order."""
    with open_unpacked(path, meter) as file:
        source = _Rows(file, path, "{")
        members = ijson.kvitems(source, "", use_float=True, buf_size=CHUNK)
        yield from source.guarded(members, lambda member: f", which comes after {member[0]!r},")


def json_items(path: Path, meter: Meter | None = None) -> Iterator[tuple[str, Any]]:
    """Return the place ("file, row 0") and value of each item of the one JSON array in a file, in order."""
    with open_unpacked(path, meter) as file:
        source = _Rows(file, path, "[")
        items = ijson.items(source, "item", use_float=True, buf_size=CHUNK)
        for row, value in enumerate(source.guarded(items, lambda item: "")):
            yield f"{path}, row {row}", value


class _Rows:
    """A file that begins with `opening`, as the parser reads it, and the place of the row that it is at."""

    def __init__(self, file: BinaryIO, path: Path, opening: str) -> None:
        self._file = file
        self._path = path
        self._row = 0
        self._taken = 0
        self._after = ""
        self._head = b""
        while not self._head and (chunk := file.read(CHUNK)):
            self._head = chunk.lstrip(b" \t\r\n")
        found = chr(self._head[0]) if self._head else ""
        if found != opening:
            raise self._broken(f"found {found!r} where {opening!r} should be" if found else "the file is cut short")

    def read(self, size: int) -> bytes:
        """Return the next bytes, for the parser."""
        if size and self._head:
            chunk, self._head = self._head[:size], self._head[size:]
        else:
            chunk = self._file.read(size)
        self._taken += len(chunk)
        if self._taken > MAX_ROW:
            raise self._broken(f"it is longer than {MAX_ROW} bytes")
        return chunk

    def guarded(self, rows: Iterator[Any], named: Callable[[Any], str]) -> Iterator[Any]:
        """Return the parser's rows; an error becomes a CorpusError with the row's number and the last row's name."""
        try:
            for value in rows:
                self._taken = 0
                self._row += 1
                yield value
                self._after = named(value)
        except ijson.JSONError as error:
            reason = str(error).removeprefix("b'").replace("\\n", "\n").splitlines()[0]
            raise self._broken(reason.replace("parse error: premature EOF", "the file is cut short")) from error
        except UnicodeDecodeError as error:
            raise self._broken(f"it has text that is not UTF-8, {error}") from error

    def _broken(self, reason: str) -> CorpusError:
        return CorpusError(
            f"{self._path}, row {self._row}{self._after} is not the JSON expected ({reason}): download the file again"
        )
