"""OTT-QA's corpus: Wikipedia passages, and tables written as Markdown.

Reads upstream's layouts, each as .json or .json.gz: `all_passages.json` ("/wiki/Title" -> text) with either
`all_plain_tables.json` (cells are strings) or `traindev_tables.json` (cells are [text, [links]]). The
tokenised layout with one file a table is not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from retrieval_index.corpora.files import Meter, json_members
from retrieval_index.corpora.jsonl import mapping, string
from retrieval_index.documents import Document
from retrieval_index.errors import CorpusError

PASSAGES = ("all_passages.json",)
TABLES = ("all_plain_tables.json", "traindev_tables.json")

TABLE_MARK = "Markdown Table:"
"""Stands at the head of every table's text, and in no passage: by it a client knows a table."""


def ottqa_files(directory: Path | str) -> tuple[Path, Path]:
    """Return the passages' and the tables' file in `directory`. Raises CorpusError when one is missing."""
    return _find(Path(directory), PASSAGES), _find(Path(directory), TABLES)


def read_ottqa(directory: Path | str, meter: Meter | None = None) -> Iterator[Document]:
    """All passages, then all tables. A passage's id is "/wiki/Title", a table's its uid.

    Raises CorpusError naming the file, the row's key and the field.
    """
    passages, tables = ottqa_files(directory)
    for key, text in json_members(passages, meter):
        if not isinstance(text, str):
            raise CorpusError(f"{passages}, passage {key!r} is a {type(text).__name__}, not text: fix or remove it")
        yield Document(key, passage_title(key), text)
    for key, value in json_members(tables, meter):
        place = f"{tables}, table {key!r}"
        table = mapping(value, place)
        yield Document(string(table, "uid", place), string(table, "title", place), table_text(table, place))


def passage_title(key: str) -> str:
    """Return the title of a page's key: "Prime Suspect" of "/wiki/Prime_Suspect"."""
    return unquote(key.removeprefix("/wiki/")).replace("_", " ")


def table_text(table: Any, place: str) -> str:
    """Return a table as text: section's title, `TABLE_MARK`, header, rows, then the section's and page's first words.

    The prose is last so that a cut to a budget takes it before the rows; without it a question finds its table far less
    often (in the top 10 for 50 % instead of 81 % of OTT-QA's dev questions). A "|" in a cell is written "/".
    `place` names the table in the CorpusError that is raised for a malformed one.
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
    """Return the texts of one row's cells, whichever of the two layouts they are in."""
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
