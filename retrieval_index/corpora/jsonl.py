r"""Corpora as JSON lines, plain or packed with gzip or bzip2, in the forms in use. A row's keys say which one it is.

    {"id": ..., "title": ..., "text": ...}           this package's; `title` is optional
    {"id": ..., "contents": "\"Title\"\ntext"}       Search-R1's
    {"id": ..., "contents": ...}                     Pyserini's
    {"_id": ..., "title": ..., "text": ..., ...}     BEIR's

Other keys are ignored. A row with `text` is read by it, even if it has `contents` too. A file may also be one JSON
array of rows, or have rows of several lines, as Pyserini allows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from retrieval_index.corpora.files import (
    Meter,
    first_line,
    json_items,
    json_lines,
    json_objects,
    not_empty,
    open_unpacked,
)
from retrieval_index.documents import Document, title_and_text
from retrieval_index.errors import CorpusError

ENDINGS = tuple(f"{kind}{packed}" for kind in (".jsonl", ".json") for packed in ("", ".gz", ".bz2"))


def jsonl_files(source: Path) -> list[Path]:
    """Return the files of a source: itself, or those with JSON in a folder, in the order of their names.

    Of a folder of BEIR's, which has `queries.jsonl` and judgements beside its `corpus.jsonl`, the corpus alone.

    Raises:
        CorpusError: For a folder without such files.
    """
    if not source.is_dir():
        return [source]
    files = sorted(path for path in source.rglob("*") if path.name.endswith(ENDINGS) and path.is_file())
    if not files:
        raise CorpusError(f"{source} has no files {', '.join(ENDINGS)}: give the folder of the corpus, or its files")
    return [path for path in files if path.name.startswith("corpus.jsonl")] or files


def read_jsonl(source: Path | str, meter: Meter | None = None) -> Iterator[Document]:
    """Yield the documents of a file of JSON rows, or of all in a folder, in order.

    Raises:
        CorpusError: Naming file, line (or row) and field, for a row that is none, and for a file without rows.
    """
    for path in jsonl_files(Path(source)):
        for place, record in _rows(path, meter):
            yield _document(mapping(record, place), place)


def _rows(path: Path, meter: Meter | None) -> Iterator[tuple[str, Any]]:
    opening = first_line(path)
    if opening.startswith(b"["):
        yield from not_empty(json_items(path, meter), path)
    elif opening == b"{":
        yield from json_objects(path, meter)
    else:
        with open_unpacked(path, meter) as file:
            yield from json_lines(file, str(path))


def _document(row: Mapping[str, Any], place: str) -> Document:
    identity = string(row, "_id" if "_id" in row and "id" not in row else "id", place)
    if "text" in row or "contents" not in row:
        title = string(row, "title", place) if row.get("title") is not None else ""
        return Document(identity, title, string(row, "text", place))
    return Document(identity, *title_and_text(string(row, "contents", place)))


def mapping(value: Any, place: str) -> Mapping[str, Any]:
    """Return `value` if it is a JSON object, else raise CorpusError."""
    if not isinstance(value, dict):
        raise CorpusError(f"{place} is a {type(value).__name__}, not an object: fix or remove it")
    return value


def string(row: Mapping[str, Any], field: str, place: str) -> str:
    """Return the string in `row[field]`, or raise CorpusError."""
    value = row.get(field)
    if not isinstance(value, str):
        what = f"a {type(value).__name__}" if field in row else "missing"
        raise CorpusError(f"{place}: field {field!r} must be a string and is {what}: fix or remove the row")
    return value


def strings(row: Mapping[str, Any], field: str, place: str) -> list[str]:
    """Return the list of strings in `row[field]`, or raise CorpusError."""
    value = row.get(field)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        what = "is not one" if field in row else "is missing"
        raise CorpusError(f"{place}: field {field!r} must be a list of strings and {what}: fix or remove the row")
    return value
