"""Checked rows into a parquet file, batch by batch: never more than a thousand of them are in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from wapo_verl.data.row_schema import check_alike, check_row

BATCH_ROWS = 1_000

Report = Callable[[str], None]
"""Called with a line of progress now and then."""


def write_parquet(rows: Iterable[dict[str, Any]], file: Path, where: str, report: Report = lambda line: None) -> int:
    """Stream checked rows into a parquet file with the first batch's schema; returns their number.

    Args:
        rows: as an environment makes them.
        file: where to write.
        where: what the rows are, for errors and progress.
        report: called with a line of progress after each batch.

    Raises:
        RowError: for a row without veRL's schema, or unlike the first row.
        ValueError: when there is no row at all.
    """
    batches = _batches(_checked(rows, where), BATCH_ROWS)
    first = next(batches, None)
    if first is None:
        raise ValueError(f"{where} has no rows, so nothing was written; check the source and --limit")
    schema = _without_nulls(pa.Table.from_pylist(first).schema)
    count = 0
    with pq.ParquetWriter(file, schema) as writer:
        for batch in chain([first], batches):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
            count += len(batch)
            report(f"{where}: {count} rows")
    return count


def _checked(rows: Iterable[dict[str, Any]], where: str) -> Iterator[dict[str, Any]]:
    first = None
    for index, row in enumerate(rows):
        check_row(row, where, index)
        first = first or row
        check_alike(first, row, where, index)
        yield row


def _batches(rows: Iterator[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    while batch := list(islice(rows, size)):
        yield batch


def _without_nulls(schema: pa.Schema) -> pa.Schema:
    """Return the schema with text in place of the null type, which Arrow infers for lists empty in the whole batch."""
    return pa.schema([pa.field(field.name, _text_for_null(field.type)) for field in schema])


def _text_for_null(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_text_for_null(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _text_for_null(field.type)) for field in kind])
    return kind
