"""Reading raw rows: every kind of file gives the same rows, and a broken one is named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wapo_verl.environments import raw_rows
from wapo_verl.environments.environment import RowError
from wapo_verl.environments.raw_rows import RawRow, read_rows

ROWS: list[dict[str, Any]] = [
    {"id": "a", "pairs": [["Vesk", 1], ["Ærø [x], {y}", 2]]},
    {"id": 'b "quoted\\', "pairs": []},
    {"id": "c\n]}", "pairs": [["", 0]]},
]


def write(file: Path, rows: list[Any]) -> Path:
    lines = ".jsonl" in file.suffixes
    text = "\n".join(map(json.dumps, rows)) + "\n\n" if lines else json.dumps(rows, indent=1, ensure_ascii=False)
    data = text.encode()
    file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)
    return file


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.json.gz", "rows.jsonl.gz"])
def test_every_text_file_gives_its_rows(name: str, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_rows, "_CHUNK", chunk)
    file = write(tmp_path / name, ROWS)
    assert [(raw.file, raw.index, raw.values) for raw in read_rows(file)] == [
        (file, index, row) for index, row in enumerate(ROWS)
    ]


def test_parquet_gives_its_rows(tmp_path: Path) -> None:
    rows = [{"id": "a", "facts": {"title": ["x"], "sent_id": [0]}}, {"id": "b", "facts": None}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    assert [raw.values for raw in read_rows(tmp_path / "rows.parquet")] == rows


json_values = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.lists(st.text(max_size=3), max_size=2)
)


@given(
    rows=st.lists(st.dictionaries(st.text(max_size=4), json_values, max_size=3), max_size=4),
    indent=st.sampled_from([None, 0, 2]),
)
def test_an_array_is_read_as_json_reads_it(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], indent: int | None
) -> None:
    file = tmp_path_factory.mktemp("array") / "rows.json"
    file.write_text(json.dumps(rows, indent=indent))
    assert [raw.values for raw in read_rows(file)] == rows


@pytest.mark.parametrize(
    ("text", "row", "problem"),
    [
        ('[{"id": 1}, {"id": 2', 1, "is not JSON"),
        ('[{"id": 1}, {"id" 2}]', 1, "is not JSON"),
        ('[{"id": 1}', 0, "not followed by a comma"),
        ('[{"id": 1} {"id": 2}]', 0, "not followed by a comma"),
        ('[{"id": 1}, ]', 1, "is not JSON"),
        ('[{"id": 1}, 5]', 1, "must be a JSON object, not 5"),
    ],
)
def test_a_broken_array_names_its_row(text: str, row: int, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_text(text)
    with pytest.raises(RowError, match=problem) as raised:
        list(read_rows(file))
    assert (raised.value.file, raised.value.row) == (str(file), row)


def test_a_broken_line_names_its_row(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"id": 1}\n\n{"id": \n')
    with pytest.raises(RowError, match=r"rows\.jsonl, row 1, field '\(whole row\)': is not JSON"):
        list(read_rows(file))


def test_a_line_in_another_encoding_names_its_row(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes('{"id": 1}\n{"id": "café"}\n'.encode("latin-1"))
    with pytest.raises(RowError, match=r"rows\.jsonl, row 1, .*: is not UTF-8 text .*; convert the file to UTF-8"):
        list(read_rows(file))


@pytest.mark.parametrize(
    ("name", "text"), [("rows.jsonl", '{"id": 1}\n{"id": 2}\n'), ("rows.json", '[{"id": 1}, {"id": 2}]')]
)
def test_a_byte_order_mark_is_ignored(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    assert [raw.values for raw in read_rows(tmp_path / name)] == [{"id": 1}, {"id": 2}]


@pytest.mark.parametrize("value", ["[" * 100_000, "9" * 10_000])
def test_a_value_without_bounds_names_its_row(value: str, tmp_path: Path) -> None:
    for name, text in (
        ("rows.jsonl", f'{{"id": 1}}\n{{"id": {value}}}'),
        ("rows.json", f'[{{"id": 1}}, {{"id": {value}}}]'),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(RowError, match=r"row 1, .* is not JSON"):
            list(read_rows(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("rows.csv", b"id\n", r"is no \.json, \.jsonl or \.parquet file"),
        ("rows.json", b'{"id": 1}', "must be named .jsonl|does not hold one JSON array"),
        ("rows.json", b" \n", "rows.json is empty"),
        ("rows.json", b'[{"id": "\xff"}]', "is damaged"),
        ("rows.json.gz", b"no gzip", "is damaged"),
        ("rows.json.gz", gzip.compress(b'[{"id": "aaaaaaaa"}]' * 20, mtime=0)[:-12], "is damaged"),
        ("rows.jsonl.gz", gzip.compress(b'{"id": 1}\n' * 99, mtime=0)[:15] + b"\xff" * 20, "is damaged"),
        ("rows.parquet", b"no parquet", "cannot be read as parquet"),
    ],
)
def test_a_damaged_file_is_named(name: str, data: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=problem) as raised:
        list(read_rows(tmp_path / name))
    assert name in str(raised.value)


def test_text_takes_the_first_field_that_is_there() -> None:
    raw = RawRow(Path("rows.json"), 4, {"id": "x", "blank": " ", "number": 3, "none": None})
    assert raw.text("_id", "id") == "x"
    for field, problem in (
        ("blank", "not blank"),
        ("number", "must be text"),
        ("none", "missing"),
        ("gone", "missing"),
    ):
        with pytest.raises(RowError, match=problem) as raised:
            raw.text(field)
        assert (raised.value.row, raised.value.field) == (4, field)
