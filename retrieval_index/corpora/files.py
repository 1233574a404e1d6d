"""Open plain and compressed files, and read JSON out of them piece by piece, with errors that say where.

`json_lines` reads a value from each line, `json_objects` objects that have several lines each. `json_members` and
`json_items` walk through one huge object or array and hold one member of it at a time. All refuse a row longer than
`MAX_ROW`, so that neither a damaged file nor a hostile one (a few kilobytes that unpack to gigabytes) fills the memory.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import ijson

from retrieval_index.errors import CorpusError

CHUNK = 1 << 16
"""Bytes read at a time."""

MAX_ROW = 1 << 25
"""Bytes of the longest row. The JSON parser needs 3 s to give up on one string of this size, and 4 times as long for
each doubling."""

PACKINGS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open}
"""How a file of each kind is unpacked, by its first bytes."""

OTHER_PACKINGS = {b"PK\x03\x04": "zip", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}

Row = TypeVar("Row")


class Meter:
    """How much of a corpus's files has been read, in bytes on the disk (compressed where the files are)."""

    def __init__(self, files: Iterable[Path]) -> None:
        """Measure the reading of `files`. Raises FileNotFoundError if one is missing."""
        self.total = sum(path.stat().st_size for path in files)
        self.restart()

    def restart(self) -> None:
        """Begin again with the first file."""
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
        """Return the share that has been read, from 0 to 1."""
        read = self._before + (self._reading.tell() if self._reading is not None else 0)
        return read / self.total if self.total else 1.0


@contextmanager
def open_packed(path: Path, meter: Meter | None = None) -> Iterator[BinaryIO]:
    """Open a file as it is on the disk. Raises CorpusError if it is missing, or for what reading it raises."""
    try:
        with path.open("rb") as file:
            if meter is None:
                yield file
            else:
                with meter.measuring(file):
                    yield file
    except FileNotFoundError:
        raise CorpusError(f"{path} does not exist: check the path of the corpus") from None
    except (EOFError, OSError, zlib.error) as error:
        raise CorpusError(f"{path} cannot be read ({error}): download it again") from error


@contextmanager
def open_unpacked(path: Path, meter: Meter | None = None) -> Iterator[BinaryIO]:
    """Open a file, unpacking gzip and bzip2, which its first bytes show whatever its name is.

    Raises:
        CorpusError: If it is missing, cut short, or packed in another way.
    """
    with open_packed(path, meter) as file:
        head = file.peek(8)  # type: ignore[attr-defined]
        for magic, name in OTHER_PACKINGS.items():
            if head.startswith(magic):
                raise CorpusError(f"{path} is packed with {name}, which is not read: unpack it and give its files")
        opener = next((opener for magic, opener in PACKINGS.items() if head.startswith(magic)), None)
        if opener is None:
            yield file
        else:
            with opener(file) as unpacked:
                yield unpacked


def json_lines(file: BinaryIO, name: str) -> Iterator[tuple[str, Any]]:
    """Yield each line's place ("file, line 3") and value. Blank lines and a byte-order mark are ignored.

    Raises:
        CorpusError: For a line that is not JSON in UTF-8, and for a file without any row.
    """
    number = rows = 0
    while line := file.readline(MAX_ROW + 1):
        number += 1
        place = f"{name}, line {number}"
        if len(line) > MAX_ROW:
            raise CorpusError(f"{place} is longer than {MAX_ROW} bytes: split the row")
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if not line.strip():
            continue
        try:
            yield place, json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise CorpusError(f"{place} is not UTF-8 text ({error}): convert the file to UTF-8") from error
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{place} is not JSON ({error}): fix or remove the line") from error
        rows += 1
    if not rows:
        raise CorpusError(f"{name} has no rows: download it again, or remove it from the sources")


def json_members(path: Path, meter: Meter | None = None) -> Iterator[tuple[str, Any]]:
    """Yield the keys and values of the one JSON object in a file, in order."""
    with open_unpacked(path, meter) as file:
        source = _Rows(file, path, "{")
        members = ijson.kvitems(source, "", use_float=True, buf_size=CHUNK)
        yield from source.guarded(members, lambda member: f", which comes after {member[0]!r},")


def json_items(path: Path, meter: Meter | None = None) -> Iterator[tuple[str, Any]]:
    """Yield the place ("file, row 0") and value of each item of the one JSON array in a file, in order."""
    with open_unpacked(path, meter) as file:
        source = _Rows(file, path, "[")
        items = ijson.items(source, "item", use_float=True, buf_size=CHUNK)
        for row, value in enumerate(source.guarded(items, lambda item: "")):
            yield f"{path}, row {row}", value


def json_objects(path: Path, meter: Meter | None = None) -> Iterator[tuple[str, Any]]:
    """Yield the place ("file, row 0") and value of each of the JSON objects that follow one another in a file."""
    with open_unpacked(path, meter) as file:
        source = _Rows(file, path, "{")
        objects = ijson.items(source, "", use_float=True, buf_size=CHUNK, multiple_values=True)
        for row, value in enumerate(source.guarded(objects, lambda item: "")):
            yield f"{path}, row {row}", value


def first_line(path: Path) -> bytes:
    """Return the beginning of a file's first line that is not blank, at most `CHUNK` bytes."""
    with open_unpacked(path) as file:
        return file.read(CHUNK).removeprefix(codecs.BOM_UTF8).lstrip().partition(b"\n")[0].rstrip()


def not_empty(rows: Iterator[Row], path: Path) -> Iterator[Row]:
    """Yield the rows of a file. Raises CorpusError if there is none."""
    empty = True
    for row in rows:
        empty = False
        yield row
    if empty:
        raise CorpusError(f"{path} has no rows: download it again, or remove it from the sources")


class _Rows:
    """A file that begins with `opening`, as the parser reads it, and the number of the current row.

    The parser refuses numbers beyond 64 bits, and reads an escaped lone surrogate, which is no text, as "?".
    """

    def __init__(self, file: BinaryIO, path: Path, opening: str) -> None:
        self._file = file
        self._path = path
        self._row = 0
        self._taken = 0
        self._after = ""
        self._head = b""
        while not self._head and (chunk := file.read(CHUNK)):
            self._head = chunk.removeprefix(codecs.BOM_UTF8).lstrip(b" \t\r\n")
        first = chr(self._head[0]) if self._head else ""
        if first != opening:
            raise self._broken(f"found {first!r} where {opening!r} should be" if first else "the file is cut short")

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
        """Yield the parser's rows; its errors become CorpusErrors with the number of the row and the last one's name.

        Args:
            rows: The parser's rows.
            named: Returns how an error in the row after this one refers to it.
        """
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
