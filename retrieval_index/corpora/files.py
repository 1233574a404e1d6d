"""Opening plain and compressed files, and reading JSON out of them piece by piece, with errors that say where.

`json_lines` reads a value a line; `json_members` and `json_items` walk through one huge object or array without ever
holding more than one member of it, which the standard library cannot do.
"""

from __future__ import annotations

import bz2
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from retrieval_index.errors import CorpusError

CHUNK = 1 << 20
"""Characters read at a time."""

MAX_VALUE = 1 << 28
"""Characters one member may have; a file that is broken in the middle is not read to its end in search of a quote."""

_DECODER = json.JSONDecoder()
_WHITESPACE = " \t\r\n"


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a UTF-8 text file, unpacking .gz and .bz2. Raises CorpusError when it is missing, cut short or not UTF-8."""
    opener: Any = {".gz": gzip.open, ".bz2": bz2.open}.get(path.suffix, open)
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            yield file
    except FileNotFoundError:
        raise CorpusError(f"{path} does not exist: check the path of the corpus") from None
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8 text ({error}): convert it or download it again") from error
    except (EOFError, OSError, zlib.error) as error:
        raise CorpusError(f"{path} cannot be read ({error}): download it again") from error


def json_lines(lines: Iterable[str], name: str) -> Iterator[tuple[str, Any]]:
    """Each line's place ("file, line 3") and value; blank lines are passed over."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{name}, line {number}"
        try:
            yield place, json.loads(line)
        except ValueError as error:
            raise CorpusError(f"{place} is not JSON ({error}): mend or remove the line") from error


def json_members(path: Path) -> Iterator[tuple[str, Any]]:
    """The keys and values of the one JSON object in a file, in order."""
    with open_text(path) as file:
        yield from _Walker(file, path).members()


def json_items(path: Path) -> Iterator[tuple[str, Any]]:
    """The place ("file, row 0") and value of each item of the one JSON array in a file, in order."""
    with open_text(path) as file:
        for row, value in enumerate(_Walker(file, path).items()):
            yield f"{path}, row {row}", value


class _Walker:
    """A cursor over a JSON text that is read in chunks."""

    def __init__(self, file: TextIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._text = ""
        self._at = 0
        self._ended = False
        self._row = 0

    def members(self) -> Iterator[tuple[str, Any]]:
        for _ in self._elements("{", "}"):
            key = self._value()
            if not isinstance(key, str):
                raise self._broken("a key is not a string")
            self._expect(":")
            yield key, self._value()

    def items(self) -> Iterator[Any]:
        for _ in self._elements("[", "]"):
            yield self._value()

    def _elements(self, opening: str, closing: str) -> Iterator[None]:
        """Pause before each element; the caller then reads it."""
        self._expect(opening)
        if self._peek() != closing:
            while True:
                yield
                self._row += 1
                if self._peek() == closing:
                    break
                self._expect(",")
        self._expect(closing)
        if self._peek():
            raise self._broken("there is more after the end")

    def _more(self) -> None:
        """Drop what has been used and read on; doubling the chunk keeps a long value from being parsed too often."""
        left = self._text[self._at :]
        if len(left) > MAX_VALUE:
            raise self._broken(f"it is longer than {MAX_VALUE} characters")
        chunk = self._file.read(max(CHUNK, len(left)))
        self._ended = not chunk
        self._text, self._at = left + chunk, 0

    def _peek(self) -> str:
        """The next character that is not white space, or "" at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _WHITESPACE:
                    return self._text[self._at]
                self._at += 1
            if self._ended:
                return ""
            self._more()

    def _expect(self, wanted: str) -> None:
        found = self._peek()
        if found != wanted:
            raise self._broken(f"found {found!r} where {wanted!r} should be" if found else "the file is cut short")
        self._at += 1

    def _value(self) -> Any:
        self._peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._ended or not self._may_be_cut(error):
                    raise self._broken(
                        error.msg if not self._ended else f"{error.msg}, the file is cut short"
                    ) from error
            else:
                if end + 3 <= len(self._text) or self._ended:  # else a number may go on, as 1 does in 1e-7
                    self._at = end
                    return value
            self._more()

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        """Whether the rest of the file could still make this value whole."""
        return error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - 16

    def _broken(self, reason: str) -> CorpusError:
        return CorpusError(
            f"{self._path}, row {self._row} is not the JSON expected ({reason}): download the file again"
        )
