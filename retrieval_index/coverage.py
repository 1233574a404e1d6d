"""Measure what an index holds of a benchmark's rows, before anyone trains on them.

For each question: which gold documents the index has, at which rank they come for the question itself and for their own
title, where the answer's words stand, and after how many searches a reader who makes no mistake has read the answer.

Words are compared without case, accents and punctuation; a phrase is found as a sequence of whole words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from retrieval_index.documents import Document, Hit
from retrieval_index.errors import CorpusError
from retrieval_index.index import Index

DEPTH = 100
"""Results that are looked at for a rank."""

NOT_IN_A_TEXT = frozenset({"yes", "no"})
"""Answers that no text holds: such a question is answered once every gold document was read."""

_TOGETHER = 128


@dataclass(frozen=True, slots=True)
class GoldRow:
    """What coverage needs of a row.

    Attributes:
        id: of the question.
        question: the question.
        answers: every answer that is accepted.
        document_ids: ids of the gold documents; () where the row names none.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    document_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class QuestionCoverage:
    """What the index has of one question.

    Attributes:
        row: the question.
        missing: gold documents that are not in the index.
        in_gold: whether a gold document holds an answer; None for a yes-or-no question, or without gold documents.
        in_index: whether any document was found that holds an answer: a gold one, or among the first `DEPTH` results
            for the question or for an answer. None for a yes-or-no question.
        question_ranks: of each gold document, its rank for the question, from 1; None where it is not in `DEPTH`.
        title_ranks: of each gold document, its rank for its own title.
        searches: after how many searches the answer was read (`searches_needed`); None where it never was.
    """

    row: GoldRow
    missing: tuple[str, ...]
    in_gold: bool | None
    in_index: bool | None
    question_ranks: tuple[int | None, ...]
    title_ranks: tuple[int | None, ...]
    searches: int | None


def read_gold_rows(file: Path) -> list[GoldRow]:
    """Read the rows of a prepared parquet file, in veRL's schema.

    Raises:
        CorpusError: naming the file, the row and the key, where one has no question or no answers.
        OSError: where it cannot be read.
    """
    columns = ("extra_info", "reward_model")
    try:
        missing = [name for name in columns if name not in pq.read_schema(file).names]
    except ValueError as error:
        raise CorpusError(f"{file} is no parquet file: give rows that `wapo-verl prepare` wrote") from error
    if missing:
        raise CorpusError(f"{file} has no column {missing[0]}: give rows that `wapo-verl prepare` wrote")
    rows = pq.read_table(file, columns=list(columns)).to_pylist()
    return [_gold_row(file, place, row) for place, row in enumerate(rows)]


def _gold_row(file: Path, place: int, row: dict[str, Any]) -> GoldRow:
    extra, truth = row["extra_info"] or {}, (row["reward_model"] or {}).get("ground_truth") or {}
    answers = (truth.get("answers") if isinstance(truth, dict) else None) or ()
    for key, value in (("extra_info.question", extra.get("question")), ("reward_model.ground_truth.answers", answers)):
        if not value:
            raise CorpusError(f"{file}, row {place}: {key} is missing")
    return GoldRow(
        id=str(extra.get("id", place)),
        question=str(extra["question"]),
        answers=tuple(map(str, answers)),
        document_ids=tuple(truth.get("document_ids") or ()),
    )


def coverage(index: Index, rows: Sequence[GoldRow], top_k: int, most: int) -> Iterator[QuestionCoverage]:
    """Yield the coverage of each row, in their order.

    Args:
        index: the index.
        rows: the questions.
        top_k: results that a reader sees of a search.
        most: searches that a reader may make.
    """
    for start in range(0, len(rows), _TOGETHER):
        yield from _together(index, rows[start : start + _TOGETHER], top_k, most)


def _together(index: Index, rows: Sequence[GoldRow], top_k: int, most: int) -> Iterator[QuestionCoverage]:
    """Yield the coverage of a few rows, whose searches are made in one call."""
    gold = {name: index.get(name) for row in rows for name in row.document_ids}
    queries = {row.question for row in rows} | {answer for row in rows for answer in row.answers}
    queries |= {_title(document) for document in gold.values() if document is not None}
    ordered = sorted(queries)
    hits = dict(zip(ordered, index.search(ordered, DEPTH), strict=True))
    for row in rows:
        yield _of_one(row, {name: gold[name] for name in row.document_ids}, hits, top_k, most)


def _of_one(
    row: GoldRow, gold: dict[str, Document | None], hits: dict[str, list[Hit]], top_k: int, most: int
) -> QuestionCoverage:
    there = {name: document for name, document in gold.items() if document is not None}
    answers = [words(answer) for answer in row.answers]
    in_gold = in_index = None
    if not NOT_IN_A_TEXT.issuperset(answers):
        in_gold = any(_holds(document, answers) for document in there.values()) if gold else None
        looked_at = (hit.document for query in (row.question, *row.answers) for hit in hits[query])
        in_index = bool(in_gold) or any(_holds(document, answers) for document in looked_at)
    titles = {name: _title(document) for name, document in there.items()}
    return QuestionCoverage(
        row=row,
        missing=tuple(name for name in gold if name not in there),
        in_gold=in_gold,
        in_index=in_index,
        question_ranks=tuple(_rank(name, hits[row.question]) for name in gold),
        title_ranks=tuple(_rank(name, hits[titles[name]]) if name in titles else None for name in gold),
        searches=searches_needed(row, list(titles.values()), lambda query: hits[query][:top_k], most),
    )


def searches_needed(
    row: GoldRow, titles: Sequence[str], search: Callable[[str], Sequence[Hit]], most: int
) -> int | None:
    """Return after how many searches a reader who makes no mistake has read the answer; None where `most` do not do.

    The first search is for the question. Each further one is for the title of a gold document that the question or a
    document read so far names. The answer was read where a document holds it; of a yes-or-no question, and of one whose
    answers stand in no text, once every gold document was read.

    Args:
        row: the question.
        titles: of the gold documents that are in the index.
        search: gives what a reader sees of a search.
        most: searches that a reader may make.
    """
    seen = {query: [hit.document for hit in search(query)] for query in (row.question, *titles)}
    named = {query: _named(titles, query, documents) for query, documents in seen.items()}
    answers = [words(answer) for answer in row.answers]
    if NOT_IN_A_TEXT.issuperset(answers):
        ids = {query: {document.id for document in documents} for query, documents in seen.items()}
        return _until_all_read(row, ids, named, most) if row.document_ids else None
    telling = {query for query, documents in seen.items() if any(_holds(each, answers) for each in documents)}
    return _until_told(row.question, telling, named, most)


def _until_told(question: str, telling: set[str], named: dict[str, set[str]], most: int) -> int | None:
    """Return the length of the shortest way from the question to a search whose results tell the answer."""
    now = asked = {question}
    for searches in range(1, most + 1):
        if now & telling:
            return searches
        now = {title for query in now for title in named[query]} - asked
        asked = asked | now
    return None


def _until_all_read(row: GoldRow, ids: dict[str, set[str]], named: dict[str, set[str]], most: int) -> int | None:
    """Return the fewest searches whose results together are all gold documents."""
    ways = {frozenset({row.question})}
    for searches in range(1, most + 1):
        if any({*row.document_ids} <= {each for query in way for each in ids[query]} for way in ways):
            return searches
        ways = {way | {title} for way in ways for query in way for title in named[query] - way}
    return None


@lru_cache(maxsize=20_000)  # a document is looked at for each question and title that finds it
def words(text: str) -> str:
    """Return a text's words in small letters without accents, one space between two of them."""
    folded = "".join(each for each in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(each))
    return " ".join(re.findall(r"\w+", folded))


def _named(titles: Sequence[str], query: str, documents: Sequence[Document]) -> set[str]:
    """Return the titles that a search's query or results name, with or without what stands in brackets behind them."""
    known = " | ".join([words(query), *(words(f"{each.title} {each.text}") for each in documents)])
    return {title for title in titles if any(f" {name} " in f" {known} " for name in _names(title))}


def _names(title: str) -> set[str]:
    return {words(title), words(re.sub(r"\s*\([^)]*\)$", "", title))} - {""}


def _holds(document: Document, answers: Sequence[str]) -> bool:
    text = f" {words(f'{document.title} {document.text}')} "
    return any(answer and f" {answer} " in text for answer in answers)


def _title(document: Document) -> str:
    return document.title or document.id


def _rank(document_id: str, hits: Sequence[Hit]) -> int | None:
    return next((rank for rank, hit in enumerate(hits, start=1) if hit.document.id == document_id), None)
