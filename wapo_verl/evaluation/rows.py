"""The rows of an evaluation: of an environment's upstream files, made by it, or a parquet file of prepared rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from retrieval_index import RetrievalError
from retrieval_index.client import describe
from wapo_verl.data.prepare import Request, prepare
from wapo_verl.data.row_schema import COLUMNS
from wapo_verl.environments.registry import environment_of
from wapo_verl.evaluation.manifest import RowsRecord
from wapo_verl.evaluation.questions import Question, refuse_same_ids

SEARCHES = frozenset({"search_agent", "search_tool_agent"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """The rows of one environment that are to be evaluated.

    Attributes:
        name: the rows' data source: the environment's name, or one that it claims (`nq` of `open_qa`).
        source: a parquet file of prepared rows, or what `wapo-verl prepare --source` takes; None for an environment
            that makes its rows.
        split: which split; None for the environment's last.
        limit: at most so many rows.
        options: the environment's own.
        agent: the agent loop, where it is not the environment's own.
        index: the address that its episodes search.
    """

    name: str
    source: str | None = None
    split: str | None = None
    limit: int | None = None
    options: Mapping[str, str] | None = None
    agent: str | None = None
    index: str | None = None


def wanted_rows(
    environments: Sequence[str],
    indexes: Sequence[str] = (),
    options: Mapping[str, str] | None = None,
    split: str | None = None,
    limit: int | None = None,
    agent: str | None = None,
) -> list[Wanted]:
    """Read what a user names.

    Args:
        environments: NAME or NAME=SOURCE each.
        indexes: ADDRESS for all that search, or NAME=ADDRESS.
        options: of the environments; each goes to those that have it.
        split: for all of them.
        limit: for each of them.
        agent: for those that search.

    Raises:
        ValueError: for an unknown environment, one named twice, an option that none has, or an index for none of them.
    """
    pairs = [(name, source or None) for name, _, source in (text.partition("=") for text in environments)]
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice or not names:
        raise ValueError(f"{twice} is named twice; name it once" if twice else "name an environment to evaluate")
    known = {name: environment_of(name) for name in names}
    for option in options or {}:
        if not any(option in env.options for env in known.values()):
            raise ValueError(f"none of {', '.join(names)} has an option {option!r}")
    by_name = _indexes(indexes, names)
    if by_name and not any(env.agent_name in SEARCHES for env in known.values()):
        raise ValueError(f"none of {', '.join(names)} searches: leave --index out")
    return [
        Wanted(
            name=name,
            source=source,
            split=split,
            limit=limit,
            options={key: value for key, value in (options or {}).items() if key in known[name].options},
            agent=agent if known[name].agent_name in SEARCHES else None,
            index=by_name.get(name, by_name.get("")) if known[name].agent_name in SEARCHES else None,
        )
        for name, source in pairs
    ]


def _indexes(indexes: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Return name -> address; "" stands for all."""
    found = {}
    for text in indexes:
        name, separator, address = text.partition("=")
        key, value = (name, address) if separator and name in names else ("", text)
        if separator and key == "" and not name.startswith(("http", "/", ".")):
            raise ValueError(f"--index {text!r} names {name!r}, which is not evaluated; name one of {', '.join(names)}")
        found[key] = value
    return found


def questions_of(wanted: Wanted, work: Path) -> tuple[list[Question], RowsRecord]:
    """Return the rows of an environment and what is recorded of them.

    Args:
        wanted: which rows.
        work: a folder for what has to be prepared.

    Raises:
        ValueError: for rows that cannot be read or made, or an index that is needed and not given or not there.
        OSError: when a file cannot be read.
    """
    split = wanted.split or environment_of(wanted.name).splits[-1]
    rows = _prepared(wanted) if _is_prepared(wanted.source) else _made(wanted, split, work)
    questions = [Question.of(row) for row in rows]
    if not questions:
        raise ValueError(f"there is no row of {wanted.name} in {wanted.source}; name a file that has some")
    refuse_same_ids(questions)
    index, corpus = _index_of(wanted, questions)
    return questions, RowsRecord(
        source=wanted.source or "made by the environment",
        split="" if _is_prepared(wanted.source) else split,
        questions=len(questions),
        sha256=_hash(question.row for question in questions),
        prompts_sha256=_hash(orjson.dumps(question.prompt).decode() for question in questions),
        index=index,
        corpus_hash=corpus,
    )


def _is_prepared(source: str | None) -> bool:
    """Tell whether a source is a parquet file of rows as `wapo-verl prepare` writes them."""
    if source is None or not source.endswith(".parquet") or not Path(source).is_file():
        return False
    try:
        return set(COLUMNS) <= set(pq.read_schema(source).names)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{source} cannot be read as parquet ({error}): write it again") from error


def _prepared(wanted: Wanted) -> list[dict[str, Any]]:
    rows = pq.read_table(wanted.source).to_pylist()
    return [row for row in rows if row["data_source"] == wanted.name][: wanted.limit]


def _made(wanted: Wanted, split: str, work: Path) -> list[dict[str, Any]]:
    """Return rows out of upstream's files, under the data source's name."""
    env = environment_of(wanted.name)
    if wanted.source is None and env.file_patterns():
        raise ValueError(
            f"{wanted.name} is read from files: write {wanted.name}=SOURCE, with a source as `prepare --source` takes "
            "it"
        )
    one_of_several = wanted.name != env.name
    request = Request(
        name=env.name,
        out=work / wanted.name,
        source=wanted.source,
        splits=(split,),
        limit=None if one_of_several else wanted.limit,
        options=dict(wanted.options or {}),
        agent=wanted.agent,
    )
    rows = pq.read_table(prepare(request)[0].file).to_pylist()
    if not one_of_several:
        return rows
    # A file may hold the rows of several data sources, each of which says its own as its kind.
    chosen = [
        row
        for row in rows
        if bare_name(row["extra_info"].get("kind", "unknown")) in ("unknown", bare_name(wanted.name))
    ]
    return [{**row, "data_source": wanted.name} for row in chosen][: wanted.limit]


def bare_name(data_source: str) -> str:
    """Return a data source's name without the prefix that veRL's recipe puts before Search-R1's."""
    return data_source.removeprefix("searchR1_")


def _index_of(wanted: Wanted, questions: Sequence[Question]) -> tuple[str, str]:
    """Return the address that the episodes search and its corpus's hash; empty where they search nothing."""
    if not any(question.agent_name in SEARCHES for question in questions):
        return "", ""
    if wanted.index is None:
        raise ValueError(
            f"the episodes of {wanted.name} search an index: give --index {wanted.name}=ADDRESS, a folder that "
            "`python -m retrieval_index build` made or http://host:port of a service"
        )
    address = wanted.index if wanted.index.startswith("http") else str(Path(wanted.index).absolute())
    try:
        return address, describe(address).corpus_hash
    except RetrievalError as error:
        raise ValueError(f"--index {wanted.index}: {error}") from error


def _hash(texts: Iterable[str]) -> str:
    whole = hashlib.sha256()
    for text in texts:
        whole.update(text.encode() + b"\n")
    return whole.hexdigest()
