"""Writes an environment's rows as veRL parquet files, and its documents where it makes them itself.

Rows are streamed into a hidden folder beside the target and moved into place only when all of them are written, so an
error loses nothing that was there. A manifest stands beside each parquet file (`manifest`), and a question that is
trained on is not tested on (`overlap`).
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from wapo_verl.data.manifest import SUFFIX, DataManifest, FileRecord, manifests, pinned_revision
from wapo_verl.data.overlap import TRAIN, TestedQuestions, questions_in, refuse_overlap
from wapo_verl.data.parquet import Report, write_parquet
from wapo_verl.environments.environment import Environment, Example
from wapo_verl.environments.hub import HubSource, parse_source
from wapo_verl.environments.registry import environment

MOST_FILES_SHOWN = 8
DOCUMENTS_FILE = "documents.jsonl"


@dataclass(frozen=True, slots=True)
class Written:
    """One file that was written: what it holds, how many rows, where it lies, and what it was made from."""

    content: str
    rows: int
    file: Path
    made_from: str
    selection: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for.

    Attributes:
        name: the environment.
        out: folder to write into; made if it is not there.
        source: file or folder with the upstream files, or what stands for a data set on the Hugging Face hub
            (`wapo_verl.environments.hub.parse_source`); None for environments that make their rows.
        splits: which splits; empty for all that the source has.
        limit: at most so many rows of each split; None for all.
        seed: for made environments their world's seed; for read ones it draws the ``limit`` rows at random.
        options: the environment's own options, as text or already converted.
        drop_overlap: leave questions out of train that another split has, where they would be refused.
        agent: the agent loop that is to play the rows, where it is not the environment's own.
    """

    name: str
    out: Path
    source: Path | str | None = None
    splits: tuple[str, ...] = ()
    limit: int | None = None
    seed: int | None = None
    options: Mapping[str, Any] | None = None
    drop_overlap: bool = False
    agent: str | None = None


@dataclass(slots=True)
class _Job:
    """A request with everything looked up: what to read, which splits in which order, and what was found on the way."""

    request: Request
    env: Environment
    options: dict[str, Any]
    folder: Path | None  # where the source's files are; None where rows are made
    hub: HubSource | None  # with the commit, where they are a hub's
    splits: tuple[str, ...]
    tested: TestedQuestions = field(default_factory=TestedQuestions)
    left_out: int = 0


def prepare(request: Request, report: Report = lambda line: None) -> list[Written]:
    """Write what was asked for and say what it was.

    Args:
        request: what the user asked for.
        report: called with a line of progress now and then.

    Raises:
        RowError: for a malformed row, naming file, row and field. Nothing has been written or replaced then.
        ValueError: for a request that cannot be met, naming the key and the fix.
        OSError: when a file cannot be read or written.
    """
    job = _looked_up(request)
    request.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".prepare-", dir=request.out) as place:
        staging = Path(place)
        # What is tested on comes first, so that train can be held against it.
        order = sorted(job.splits, key=lambda split: split == TRAIN)
        by_split = {split: _write_split(job, split, staging, report) for split in order}
        _refuse_overlap(job, staging)
        written = [by_split[split] for split in job.splits]
        if job.env.generates_documents:
            count = _write_documents(job.env.documents(job.folder, **job.options), staging / DOCUMENTS_FILE)
            written.append(Written("documents", count, request.out / DOCUMENTS_FILE, f"made by envs/{job.env.name}"))
        for file in sorted(staging.iterdir()):
            os.replace(file, request.out / file.name)
    return written


def _looked_up(request: Request) -> _Job:
    env = environment(request.name)
    if request.agent is not None:
        env = env.played_by(request.agent)
    options = _resolve(env, request)
    folder, hub = _located(env, request)
    splits = request.splits or env.available_splits(folder)
    _refuse_one_file_as_several_splits(folder, splits)
    return _Job(request, env, options, folder, hub, splits)


def _located(env: Environment, request: Request) -> tuple[Path | None, HubSource | None]:
    """Return the folder or file to read; for a hub's data set also that, with the commit that was fetched."""
    source = request.source
    found = parse_source(source, env.hub_repo) if isinstance(source, str) else source
    if not isinstance(found, HubSource):
        return found, None
    if found.revision is None and request.out.is_dir():
        found = HubSource(found.repo, pinned_revision(manifests(request.out), found.repo))
    folder, commit = found.fetch(env.file_patterns(request.splits))
    return folder, HubSource(found.repo, commit)


def _write_split(job: _Job, split: str, staging: Path, report: Report) -> Written:
    """Write one split's parquet file and its manifest into the staging folder."""
    env, request = job.env, job.request
    files = env.source_files(split, job.folder)
    examples: Iterable[tuple[int, Example]] = enumerate(env.examples(split, job.folder, **job.options))
    if split == TRAIN and request.drop_overlap:
        examples = _without_tested(job, examples)
    rows = (env.row(example, split, index) for index, example in _chosen(examples, request, env))
    file = staging / f"{split}.parquet"
    count = write_parquet(rows, file, f"{env.name} {split}", report)
    if split != TRAIN:
        for row, question in enumerate(questions_in(file)):
            job.tested.add(question, split, row)
    selection = env.selection(split, job.folder, **job.options)
    DataManifest(
        environment=env.name,
        split=split,
        agent=env.agent_name,
        rows=count,
        repo=job.hub.repo if job.hub else None,
        revision=job.hub.revision if job.hub else None,
        source=tuple(FileRecord.of(path) for path in files),
        options=job.options,
        selection=selection,
        limit=request.limit,
        seed=request.seed,
        left_out_of_train=job.left_out if split == TRAIN else 0,
        parquet=FileRecord.of(file),
        package=version("wapo-verl"),
    ).write(staging)
    made_from = _shown(files) or f"made by envs/{env.name}"
    return Written(split, count, request.out / file.name, made_from, selection)


def _shown(files: Sequence[Path]) -> str:
    """Return the files, or the first of many: MATH has one a problem."""
    if len(files) > MOST_FILES_SHOWN:
        return f"{files[0]} and {len(files) - 1:,} more files"
    return ", ".join(map(str, files))


def _without_tested(job: _Job, examples: Iterable[tuple[int, Example]]) -> Iterator[tuple[int, Example]]:
    _add_tested_earlier(job)
    for index, example in examples:
        if job.tested.find(example.question) is None:
            yield index, example
        else:
            job.left_out += 1


def _add_tested_earlier(job: _Job) -> None:
    """Take in the splits of this environment that are in the target folder from before and stay there."""
    for manifest in manifests(job.request.out):
        if manifest.environment == job.env.name and manifest.split not in (TRAIN, *job.splits):
            for row, question in enumerate(questions_in(job.request.out / manifest.parquet.name)):
                job.tested.add(question, manifest.split, row)


def _refuse_overlap(job: _Job, staging: Path) -> None:
    """Raise ValueError when train, new or there from before, has a question of another split."""
    train = f"{TRAIN}.parquet"
    if TRAIN in job.splits:
        if not job.request.drop_overlap:
            _add_tested_earlier(job)
        refuse_overlap(job.tested, questions_in(staging / train), job.env.name)
    elif (job.request.out / f"{TRAIN}{SUFFIX}").is_file():
        refuse_overlap(job.tested, questions_in(job.request.out / train), job.env.name)


def print_written(written: Sequence[Written], console: Console) -> None:
    """Print a table of the files, then the first row of the first parquet file as veRL will see it."""
    table = Table("split", "rows", title="written")
    table.add_column("file", overflow="fold")
    table.add_column("source", overflow="fold")
    for item in written:
        table.add_row(item.content, f"{item.rows:,}", Text(str(item.file)), Text(item.made_from))
    console.print(table)
    for item in written:
        if item.selection:
            said = ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in item.selection.items())
            console.print(Text(f"{item.content}: {said}"))
    first = written[0].file
    row = next(pq.ParquetFile(first).iter_batches(batch_size=1)).to_pylist()[0]
    lines = [f"{message['role']}: {message['content']}" for message in row["prompt"]]
    truth = json.dumps(row["reward_model"]["ground_truth"], ensure_ascii=False)
    extra = json.dumps(row["extra_info"], ensure_ascii=False)
    lines += ["", f"ground truth: {truth}", f"extra_info: {extra}", f"agent: {row['agent_name']}"]
    console.print(Panel(Text("\n".join(lines)), title=f"first row of {first.name}", title_align="left"))


def parse_settings(settings: Sequence[str]) -> dict[str, str]:
    """Read ``["key=value", ...]`` as a dict.

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


def _chosen(
    numbered: Iterable[tuple[int, Example]], request: Request, env: Environment
) -> Iterator[tuple[int, Example]]:
    """Return the examples to keep, each with its place in the split: the first ``limit``, or a seeded draw."""
    if request.limit is None:
        return iter(numbered)
    if request.seed is None or env.generates_documents:
        return islice(numbered, request.limit)
    return iter(_draw(numbered, request.limit, random.Random(request.seed)))


def _draw(numbered: Iterable[tuple[int, Example]], size: int, generator: random.Random) -> list[tuple[int, Example]]:
    """Draw ``size`` items uniformly from a stream, in its order; no more are held (Vitter 1985, algorithm R)."""
    kept: list[tuple[int, Example]] = []
    for seen, item in enumerate(numbered):
        if seen < size:
            kept.append(item)
        elif (place := generator.randrange(seen + 1)) < size:
            kept[place] = item
    return sorted(kept, key=lambda item: item[0])


def _write_documents(documents: Iterable[Any], file: Path) -> int:
    """Write one JSON object a line: id, title, text; return how many."""
    count = 0
    with file.open("w", encoding="utf-8") as stream:
        for document in documents:
            stream.write(json.dumps(asdict(document), ensure_ascii=False) + "\n")
            count += 1
    return count
