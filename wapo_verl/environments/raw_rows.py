"""Raw rows out of the files that datasets are published in, one at a time, with their place for error messages.

JSON arrays (read piece by piece: a 540 MB file never stands in memory whole), JSON lines, parquet; the first two also
gzipped. Nothing here knows a dataset's fields.
"""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from wapo_verl.environments.environment import RowError

WHOLE_ROW = "(whole row)"
_CHUNK = 1 << 20  # characters
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row as published: its values, its file and its place in it (counted from 0)."""

    file: Path
    index: int
    values: Mapping[str, Any]

    def error(self, field: str, problem: str) -> RowError:
        """Return the error to raise about a field of this row."""
        return RowError(self.file, self.index, field, problem)

    def text(self, *fields: str) -> str:
        """Return the non-blank text in the first of ``fields`` that the row has.

        Raises:
            RowError: when none is there, or it holds something else.
        """
        for field in fields:
            value = self.values.get(field)
            if value is None:
                continue
            if not isinstance(value, str) or not value.strip():
                raise self.error(field, f"must be text that is not blank, not {_shown(value)}")
            return value
        raise self.error(fields[0], f"is missing; the row has {', '.join(sorted(self.values)) or 'no field'}")


def read_rows(file: Path) -> Iterator[RawRow]:
    """Read the rows of a ``.json`` (array), ``.jsonl``, ``.json.gz``, ``.jsonl.gz`` or ``.parquet`` file.

    Raises:
        RowError: for a row that is no JSON object.
        ValueError: for another kind of file.
        OSError: when the file cannot be read.
    """
    kind = Path(file.name.removesuffix(".gz")).suffix
    if kind == ".parquet":
        values: Iterator[Any] = _parquet(file)
    elif kind in (".json", ".jsonl"):
        values = _text(file, lines=kind == ".jsonl")
    else:
        raise ValueError(f"{file} is no .json, .jsonl or .parquet file; give one of these (JSON may be gzipped)")
    for index, value in enumerate(values):
        if not isinstance(value, dict):
            raise RowError(file, index, WHOLE_ROW, f"must be a JSON object, not {_shown(value)}")
        yield RawRow(file, index, value)


def _parquet(file: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(batch_size=256):
                yield from batch.to_pylist()
    except pa.ArrowInvalid as error:
        raise ValueError(f"{file} cannot be read as parquet ({error}); download it again") from error


def _text(file: Path, lines: bool) -> Iterator[Any]:
    open_file: Any = gzip.open if file.suffix == ".gz" else open
    try:
        if lines:
            with open_file(file, "rb") as stream:
                yield from _lines(stream, file)
        else:
            with open_file(file, "rt", encoding="utf-8-sig") as stream:
                yield from _array(stream, file)
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{file} is damaged ({error}); download it again") from error


def _lines(stream: BinaryIO, file: Path) -> Iterator[Any]:
    rows = (line for line in stream if line.strip())
    for index, line in enumerate(rows):
        try:
            yield json.loads(line.removeprefix(codecs.BOM_UTF8 if index == 0 else b"").decode("utf-8"))
        except UnicodeDecodeError as error:
            raise RowError(file, index, WHOLE_ROW, f"is not UTF-8 text ({error}); convert the file to UTF-8") from error
        except (ValueError, RecursionError) as error:
            raise RowError(file, index, WHOLE_ROW, f"is not JSON ({error}); fix or remove the line") from error


def _array(stream: TextIO, file: Path) -> Iterator[Any]:
    """Read the elements of one JSON array, each as soon as it is complete."""
    reader = _Buffer(stream)
    first = reader.next_character()
    if not first:
        raise ValueError(f"{file} is empty; download it again")
    if first != "[":
        raise ValueError(f"{file} does not hold one JSON array of rows; a file with a row a line must be named .jsonl")
    index = 0
    closing = reader.next_character(peek=True) == "]"
    while not closing:
        try:
            yield reader.next_value()
        except (ValueError, RecursionError) as error:
            problem = f"is not JSON ({error}); fix the row, or download the file again if it was cut off"
            raise RowError(file, index, WHOLE_ROW, problem) from error
        index += 1
        separator = reader.next_character()
        if separator not in (",", "]"):
            raise RowError(file, index - 1, WHOLE_ROW, "is not followed by a comma or the closing bracket of the array")
        closing = separator == "]"


class _Buffer:
    """A window on a JSON text that grows until the next value is complete."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._window, self._start = stream, "", 0

    def _grow(self) -> bool:
        """Read on by as much again as is held, so that a long value costs linear time; False at the end."""
        kept = self._window[self._start :]
        more = self._stream.read(max(_CHUNK, len(kept)))
        self._window, self._start = kept + more, 0
        return bool(more)

    def next_character(self, peek: bool = False) -> str:
        """Read the next character that is not white space, "" at the end."""
        while True:
            while self._start < len(self._window) and self._window[self._start].isspace():
                self._start += 1
            if self._start < len(self._window):
                character = self._window[self._start]
                self._start += 0 if peek else 1
                return character
            if not self._grow():
                return ""

    def next_value(self) -> Any:
        """Read the next JSON value; raises ``json.JSONDecodeError`` where none stands."""
        self.next_character(peek=True)
        while True:
            try:
                value, self._start = _DECODER.raw_decode(self._window, self._start)
                return value
            except json.JSONDecodeError:
                if not self._grow():
                    raise


def _shown(value: Any) -> str:
    """Return a value as an error message shows it: short."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
