"""Any corpus as JSON lines: {"id": ..., "title": ..., "text": ...}, plain, .gz or .bz2. `title` may be left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from retrieval_index.corpora.files import Meter, json_lines, open_text
from retrieval_index.documents import Document
from retrieval_index.errors import CorpusError


def read_jsonl(file: Path | str, meter: Meter | None = None) -> Iterator[Document]:
    """Return the documents of a JSON lines file, in order. Raises CorpusError naming file, line and field."""
    path = Path(file)
    with open_text(path, meter) as lines:
        for place, record in json_lines(lines, str(path)):
            row = mapping(record, place)
            title = string(row, "title", place) if "title" in row else ""
            yield Document(string(row, "id", place), title, string(row, "text", place))


def mapping(value: Any, place: str) -> Mapping[str, Any]:
    """`value` if it is a JSON object, else CorpusError."""
    if not isinstance(value, dict):
        raise CorpusError(f"{place} is a {type(value).__name__}, not an object: fix or remove it")
    return value


def string(row: Mapping[str, Any], field: str, place: str) -> str:
    """Return the string in `row[field]`, else CorpusError."""
    value = row.get(field)
    if not isinstance(value, str):
        found = f"a {type(value).__name__}" if field in row else "missing"
        raise CorpusError(f"{place}: field {field!r} must be a string and is {found}: fix or remove the row")
    return value


def strings(row: Mapping[str, Any], field: str, place: str) -> list[str]:
    """Return the list of strings in `row[field]`, else CorpusError."""
    value = row.get(field)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        found = "is not one" if field in row else "is missing"
        raise CorpusError(f"{place}: field {field!r} must be a list of strings and {found}: fix or remove the row")
    return value
