"""Writes an environment's rows as veRL parquet files, and its documents where it makes them itself.

Rows are streamed into a hidden folder beside the target and moved into place only when all of them are written, so an
error loses nothing that was there. Downloading, and checksums or a manifest beside the files, are left out.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from envs.environment import Environment, Example
from envs.registry import environment
from envs.schema import check_alike, check_row

BATCH_ROWS = 1_000
DOCUMENTS_FILE = "documents.jsonl"

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Written:
    """One file that was written: what it holds, how many rows, where it lies, and what it was made from."""

    content: str
    rows: int
    file: Path
    made_from: str


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for.

    Attributes:
        name: the environment.
        out: folder to write into; made if it is not there.
        source: file or folder with the upstream files; None for environments that make their rows.
        splits: which splits; empty for all that the source has.
        limit: at most so many rows of each split; None for all.
        seed: for made environments their world's seed; for read ones it draws the ``limit`` rows at random.
        options: the environment's own options, as text or already converted.
    """

    name: str
    out: Path
    source: Path | None = None
    splits: tuple[str, ...] = ()
    limit: int | None = None
    seed: int | None = None
    options: Mapping[str, Any] | None = None


def prepare(request: Request, report: Report = lambda line: None) -> list[Written]:
    """Write what was asked for and say what it was.

    Args:
        report: called with a line of progress now and then.

    Raises:
        RowError: for a malformed row, naming file, row and field. Nothing has been written or replaced then.
        ValueError: for a request that cannot be met, naming the key and the mend.
        OSError: when a file cannot be read or written.
    """
    env = environment(request.name)
    options = _resolve(env, request)
    splits = request.splits or env.available_splits(request.source)
    _refuse_one_file_as_several_splits(request.source, splits)
    request.out.mkdir(parents=True, exist_ok=True)
    written = []
    with tempfile.TemporaryDirectory(prefix=".prepare-", dir=request.out) as staging:
        for split in splits:
            files = env.source_files(split, request.source)
            made_from = ", ".join(map(str, files)) or f"made by envs/{env.name}"
            examples = _chosen(env.examples(split, request.source, **options), request, env)
            rows = (env.row(example, split, index) for index, example in examples)
            count = write_parquet(rows, Path(staging) / f"{split}.parquet", f"{env.name} {split}", report)
            written.append(Written(split, count, request.out / f"{split}.parquet", made_from))
        if env.generates_documents:
            count = _write_documents(env.documents(request.source, **options), Path(staging) / DOCUMENTS_FILE)
            written.append(Written("documents", count, request.out / DOCUMENTS_FILE, f"made by envs/{env.name}"))
        for item in written:
            os.replace(Path(staging) / item.file.name, item.file)
    return written


def write_parquet(rows: Iterable[dict[str, Any]], file: Path, where: str, report: Report = lambda line: None) -> int:
    """Stream checked rows into a parquet file with the first batch's schema; returns their number.

    Args:
        where: what the rows are, for errors and progress.

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


def print_written(written: Sequence[Written], console: Console) -> None:
    """A table of the files, then the first row of the first parquet file as veRL will see it."""
    table = Table("split", "rows", title="written")
    table.add_column("file", overflow="fold")
    table.add_column("source", overflow="fold")
    for item in written:
        table.add_row(item.content, f"{item.rows:,}", Text(str(item.file)), Text(item.made_from))
    console.print(table)
    first = written[0].file
    row = next(pq.ParquetFile(first).iter_batches(batch_size=1)).to_pylist()[0]
    lines = [f"{message['role']}: {message['content']}" for message in row["prompt"]]
    truth = json.dumps(row["reward_model"]["ground_truth"], ensure_ascii=False)
    extra = json.dumps(row["extra_info"], ensure_ascii=False)
    lines += ["", f"ground truth: {truth}", f"extra_info: {extra}", f"agent: {row['agent_name']}"]
    console.print(Panel(Text("\n".join(lines)), title=f"first row of {first.name}", title_align="left"))


def parse_settings(settings: Sequence[str]) -> dict[str, str]:
    """``["key=value", ...]`` as a dict.

    Raises:
        ValueError: for one without "=" or without a key, or a key given twice.
    """
    parsed: dict[str, str] = {}
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator or not key.strip():
            raise ValueError(f"--set {setting!r} is not of the form key=value")
        if key.strip() in parsed:
            raise ValueError(f"--set {key.strip()} was given twice; keep one")
        parsed[key.strip()] = value
    return parsed


def _resolve(env: Environment, request: Request) -> dict[str, Any]:
    if request.limit is not None and request.limit < 1:
        raise ValueError(f"--limit must be at least 1, not {request.limit}")
    given = dict(request.options or {})
    if request.seed is not None and env.generates_documents:
        if "seed" in given:
            raise ValueError("the seed was given by --seed and by --set; keep one")
        given["seed"] = request.seed
    elif request.seed is not None and request.limit is None:
        raise ValueError(f"--seed draws the rows that --limit keeps of {env.name}; give --limit too, or leave it out")
    return env.resolve_options(given)


def _refuse_one_file_as_several_splits(source: Path | None, splits: tuple[str, ...]) -> None:
    if len(set(splits)) < len(splits):
        raise ValueError(f"a split was given twice in --split: {', '.join(splits)}; keep one")
    if source is not None and source.is_file() and len(splits) > 1:
        raise ValueError(f"{source} is one file and cannot be {' and '.join(splits)} at once; name one split for it")


def _chosen(examples: Iterator[Example], request: Request, env: Environment) -> Iterator[tuple[int, Example]]:
    """The examples to keep, each with its place in the split: the first ``limit``, or a seeded draw, in their order."""
    numbered = enumerate(examples)
    if request.limit is None:
        return numbered
    if request.seed is None or env.generates_documents:
        return islice(numbered, request.limit)
    return iter(_draw(numbered, request.limit, random.Random(request.seed)))


def _draw(numbered: Iterable[tuple[int, Example]], size: int, generator: random.Random) -> list[tuple[int, Example]]:
    """A uniform draw of ``size`` items from a stream in its order; no more are held (Vitter 1985, algorithm R)."""
    kept: list[tuple[int, Example]] = []
    for seen, item in enumerate(numbered):
        if seen < size:
            kept.append(item)
        elif (place := generator.randrange(seen + 1)) < size:
            kept[place] = item
    return sorted(kept, key=lambda item: item[0])


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
    """The schema with text in place of the null type, which Arrow infers for lists empty in the whole batch."""
    return pa.schema([pa.field(field.name, _text_for_null(field.type)) for field in schema])


def _text_for_null(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_text_for_null(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _text_for_null(field.type)) for field in kind])
    return kind


def _write_documents(documents: Iterable[Any], file: Path) -> int:
    """One JSON object a line: id, title, text."""
    count = 0
    with file.open("w", encoding="utf-8") as stream:
        for document in documents:
            stream.write(json.dumps(asdict(document), ensure_ascii=False) + "\n")
            count += 1
    return count
