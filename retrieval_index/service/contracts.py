"""The bodies of POST /retrieve: requests are read and checked, answers are written.

Two contracts share the path. A request with `top_k` is that of WAPO's reference environment, and its answer is
`[[str, ...], ...]`. Any other is Search-R1's (`topk`, `return_scores`), and its answer is
`{"result": [[document or {"document", "score"}, ...], ...]}`. There is one list for each query, in the order of the
queries. Keys that neither contract has are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from retrieval_index.documents import Document, Hit
from retrieval_index.service.settings import ServiceSettings

WAPO, SEARCH_R1 = "wapo", "search_r1"
PASSAGE_PREFIX = "/wiki/"


class RefusedRequest(Exception):
    """A request that is not answered."""

    def __init__(self, status: int, sentence: str, retry_after_s: int | None = None) -> None:
        """Refuse with HTTP's `status` and a sentence that says why and what to do."""
        super().__init__(sentence)
        self.status, self.sentence, self.retry_after_s = status, sentence, retry_after_s


@dataclass(frozen=True, slots=True)
class Request:
    """A checked request."""

    contract: str
    queries: list[str]
    top_k: int
    return_scores: bool = False


def read_request(body: bytes, settings: ServiceSettings) -> Request:
    """Read and check a body. Raises RefusedRequest: 400 if it is no JSON, 422 for what it holds."""
    record = _object(body)
    queries = record.get("queries")
    if not isinstance(queries, list) or not all(isinstance(query, str) for query in queries):
        raise RefusedRequest(422, '"queries" must be a list of strings')
    if len(queries) > settings.max_queries:
        raise RefusedRequest(
            422, f"{len(queries)} queries in one request, {settings.max_queries} are allowed: send them in parts"
        )
    if "top_k" in record:
        return _bounded(Request(WAPO, queries, _count("top_k", record["top_k"], settings)), settings)
    asked, return_scores = record.get("topk"), record.get("return_scores", False)
    if not isinstance(return_scores, bool):
        raise RefusedRequest(422, '"return_scores" must be true or false')
    top_k = settings.default_top_k if asked is None else _count("topk", asked, settings)
    return _bounded(Request(SEARCH_R1, queries, top_k, return_scores), settings)


def _bounded(request: Request, settings: ServiceSettings) -> Request:
    asked = len(request.queries) * request.top_k
    if asked > settings.max_documents:
        raise RefusedRequest(
            422,
            f"{len(request.queries)} queries of {request.top_k} documents are {asked} in one answer, "
            f"{settings.max_documents} are allowed: send them in parts",
        )
    return request


def _object(body: bytes) -> dict[str, Any]:
    try:
        record = orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            record = json.loads(body.decode("utf-8"))  # takes lone surrogates, which a decoded text may hold
        except (ValueError, RecursionError):
            raise RefusedRequest(400, "the body is not JSON") from None
    if not isinstance(record, dict):
        raise RefusedRequest(422, 'the body must be a JSON object with the key "queries"')
    return record


def _count(name: str, value: Any, settings: ServiceSettings) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= settings.max_top_k:
        shown = repr(value)[:40]
        raise RefusedRequest(422, f'"{name}" must be a whole number from 1 to {settings.max_top_k}, not {shown}')
    return value


def write_answer(request: Request, found: Sequence[Sequence[Hit]]) -> bytes:
    """Return the answer's body in the request's contract; `found` has one list of hits for each query."""
    answer: Any
    if request.contract == WAPO:
        answer = [[wapo_passage(hit.document) for hit in hits] for hits in found]
    elif request.return_scores:
        result = [
            [{"document": search_r1_document(hit.document), "score": hit.score} for hit in hits] for hits in found
        ]
        answer = {"result": result}
    else:
        answer = {"result": [[search_r1_document(hit.document) for hit in hits] for hits in found]}
    return orjson.dumps(answer)


def wapo_passage(document: Document) -> str:
    """Return the document as one string: its id up to the first space, then the title, and the text on the next line.

    An OTT-QA passage's id "/wiki/Title" is written "Title", since the reference environment's gold id is "wiki/" and
    that token. White space inside an id becomes "_", so that the id stays one token.
    """
    token = "_".join(document.id.removeprefix(PASSAGE_PREFIX).split())
    return f"{token} {document.title}\n{document.text}" if document.title else f"{token} {document.text}"


def search_r1_document(document: Document) -> dict[str, str]:
    """Return Search-R1's document; `contents` is the quoted title, a line break, and the text."""
    title, text = document.title, document.text
    return {"id": document.id, "title": title, "text": text, "contents": f'"{title}"\n{text}'}
