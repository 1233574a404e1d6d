"""Write questions and read answers in Search-R1's contract. Whatever is not exactly an answer is an error."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from retrieval_index.documents import Document, Hit, title_and_text


class WrongAnswerError(ValueError):
    """A body that is no answer to what was asked; the message completes the sentence "its answer ..."."""


def write_question(queries: list[str], top_k: int) -> bytes:
    """Return the body of a request."""
    question = {"queries": queries, "topk": top_k, "return_scores": True}
    try:
        return orjson.dumps(question)
    except TypeError:  # a lone surrogate, which this encoder refuses
        return json.dumps(question).encode("ascii")


def read_answer(body: bytes, queries: int, top_k: int) -> list[list[Hit]]:
    """Return one list of at most `top_k` hits for each of the `queries`. Raises WrongAnswerError."""
    try:
        record = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise WrongAnswerError(f"is not JSON ({error})") from error
    lists = record.get("result") if isinstance(record, dict) else None
    if not isinstance(lists, list):
        said = read_error(body) if isinstance(record, dict) and record.keys() & {"error", "detail"} else ""
        raise WrongAnswerError(f"is an error: {said}" if said else 'has no list "result"')
    if len(lists) != queries:
        raise WrongAnswerError(f"has {len(lists)} results for {queries} queries")
    for hits in lists:
        if not isinstance(hits, list) or len(hits) > top_k:
            raise WrongAnswerError(f"has a result that is no list of at most {top_k} documents")
    return [[_hit(item) for item in hits] for hits in lists]


def _hit(item: Any) -> Hit:
    document = item.get("document") if isinstance(item, dict) else None
    score = item.get("score") if isinstance(item, dict) else None
    if not isinstance(document, dict) or not isinstance(score, int | float) or isinstance(score, bool):
        raise WrongAnswerError('has a document without "document" and a number as "score"')
    identity, title, text = document.get("id"), document.get("title"), document.get("text")
    if title is None or text is None:
        contents = document.get("contents")
        if not isinstance(contents, str):
            raise WrongAnswerError('has a document with neither "title" and "text" nor "contents"')
        title, text = title_and_text(contents)
    if not (isinstance(identity, str) and identity and isinstance(title, str) and isinstance(text, str)):
        raise WrongAnswerError('has a document whose "id", "title" and "text" are not strings')
    return Hit(Document(identity, title, text), float(score))


def read_error(body: bytes) -> str:
    """Return the sentence in an error's body, whichever server wrote it, or the body's beginning."""
    try:
        record = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body[:200].decode("utf-8", "replace")
    error = record.get("error", record.get("detail")) if isinstance(record, dict) else None
    sentence = error.get("message") if isinstance(error, dict) else error
    return sentence if isinstance(sentence, str) else body[:200].decode("utf-8", "replace")


def read_retry_after(value: str | None) -> float:
    """Return the seconds from now of a Retry-After header, which has seconds or a date; 0.0 if it has neither."""
    if value is None:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
