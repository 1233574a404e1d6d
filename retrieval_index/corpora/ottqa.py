"""OTT-QA's corpus: Wikipedia passages, and tables written as Markdown.

Upstream's layouts are read, each as .json or .json.gz: `all_passages.json` ("/wiki/Title" -> text) with either
`all_plain_tables.json` (cells are strings) or `traindev_tables.json` (cells are [text, [links]]); not the tokenised
layout with one file a table.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from retrieval_index.corpora.files import Meter, json_members, not_empty
from retrieval_index.corpora.jsonl import mapping, string
from retrieval_index.documents import Document
from retrieval_index.errors import CorpusError

PASSAGES = ("all_passages.json",)
TABLES = ("all_plain_tables.json", "traindev_tables.json")

TABLE_MARK = "Markdown Table:"
"""Stands at the head of every table's text, and in no passage: by it a client recognises a table."""


def ottqa_files(directory: Path | str) -> tuple[Path, Path]:
    """Return the passages' and the tables' file in `directory`. Raises CorpusError if one is missing."""
    return _find(Path(directory), PASSAGES), _find(Path(directory), TABLES)


def read_ottqa(directory: Path | str, meter: Meter | None = None) -> Iterator[Document]:
    """Yield all passages, then all tables. A passage's id is "/wiki/Title", a table's its uid.

    Raises:
        CorpusError: Naming the file, the row's key and the field.
    """
    passages, tables = ottqa_files(directory)
    for key, text in not_empty(json_members(passages, meter), passages):
        if not isinstance(text, str):
            raise CorpusError(f"{passages}, passage {key!r} is a {type(text).__name__}, not text: fix or remove it")
        yield Document(key, passage_title(key), text)
    for key, value in not_empty(json_members(tables, meter), tables):
        place = f"{tables}, table {key!r}"
        table = mapping(value, place)
        yield Document(string(table, "uid", place), string(table, "title", place), table_text(table, place))


def passage_title(key: str) -> str:
    """Return the title of a passage's key: "Prime Suspect" for "/wiki/Prime_Suspect"."""
    return unquote(key.removeprefix("/wiki/")).replace("_", " ")


def table_text(table: Any, place: str) -> str:
    """Write a table as text: section title, `TABLE_MARK`, header and rows in Markdown, then the page's first words.

    The prose comes last so that a cut to a budget removes it before the rows. Without it a question finds its table far
    less often (in the top 10 for 50 % instead of 81 % of OTT-QA's dev questions). A "|" in a cell is written "/".

    Args:
        table: The table as upstream has it.
        place: Names the table in errors.

    Raises:
        CorpusError: For a malformed table.
    """
    header = _cells(table.get("header"), f"{place}: field 'header'")
    rows = table.get("data")
    if not isinstance(rows, list):
        raise CorpusError(f"{place}: field 'data' must be a list of rows: fix or remove the table")
    lines = [string(table, "section_title", place), TABLE_MARK, _line(header), _line(["---"] * len(header))]
    lines += [_line(_cells(row, f"{place}: field 'data', row {number}")) for number, row in enumerate(rows)]
    prose = [string(table, field, place).strip() for field in ("section_text", "intro") if field in table]
    return "\n".join(line for line in lines + prose if line)


def _cells(row: Any, place: str) -> list[str]:
    """Return the texts of one row's cells, in either layout."""
    if not isinstance(row, list):
        raise CorpusError(f"{place} must be a list of cells: fix or remove the table")
    cells = []
    for number, cell in enumerate(row):
        text = cell[0] if isinstance(cell, list) and cell else cell
        if not isinstance(text, str):
            raise CorpusError(f"{place}, cell {number} is neither text nor [text, [links]]: fix or remove the table")
        cells.append(" ".join(text.replace("|", "/").split()))
    return cells


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _find(directory: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        for path in (directory / name, directory / f"{name}.gz"):
            if path.is_file():
                return path
    wanted = " or ".join(names)
    raise CorpusError(f"{directory} has no {wanted} (or .gz): download OTT-QA's data and give its folder")
