"""Requests to OpenSearch's nodes: another node at once, waits that grow between attempts, errors as one sentence.

User and password come from OPENSEARCH_USER and OPENSEARCH_PASSWORD, a private certificate's authority from the file
that OPENSEARCH_CA_CERTS names. Requests are not signed for a cloud's service, and the cluster is not asked for nodes.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from opensearchpy import OpenSearch
from opensearchpy.exceptions import ConnectionError as NoConnection
from opensearchpy.exceptions import NotFoundError, SSLError, TransportError

from retrieval_index.errors import IndexStateError, RetrievalError

PASSING = frozenset({429, 502, 503, 504})
"""Answers of a server that is busy or starting: worth another attempt."""

SEARCH_WAITS_S = (0.1, 0.4)
BUILD_WAITS_S = (0.2, 0.5, 1, 2, 5, 10, 20, 20)
"""Seconds between attempts, each shortened at random by up to a half. A build outlives a node's restart."""

REQUEST_S = 30
BULK_S = 120


class _Again(Exception):
    """An answer inside an answer that is worth another attempt."""


class Server:
    """One cluster, by the addresses of any of its nodes, separated by commas. May be used from several threads."""

    def __init__(self, hosts: str, *, building: bool = False) -> None:
        self.hosts = hosts
        self._waits = BUILD_WAITS_S if building else SEARCH_WAITS_S
        nodes = hosts.split(",")
        user = os.environ.get("OPENSEARCH_USER")
        self._client = OpenSearch(
            hosts=nodes,
            http_auth=(user, os.environ.get("OPENSEARCH_PASSWORD", "")) if user else None,
            ca_certs=os.environ.get("OPENSEARCH_CA_CERTS") or None,
            timeout=BULK_S if building else REQUEST_S,
            max_retries=len(nodes) - 1,
            retry_on_status=(502, 503, 504),
            retry_on_timeout=True,
            pool_maxsize=32,
        )

    def create(self, index: str, layout: Mapping[str, Any]) -> None:
        """Create the index, unless an attempt whose answer was lost has done so. Raises RetrievalError."""

        def attempt() -> None:
            if not self._client.indices.exists(index=index):
                self._client.indices.create(index=index, body=layout)

        self._patiently(index, "create the index", attempt)

    def bulk(self, index: str, lines: Sequence[bytes]) -> None:
        """Send pairs of lines (where to, and the document); those the server is too busy for are sent again."""
        waiting = list(lines)

        def attempt() -> None:
            answer = self._client.bulk(body=b"\n".join(waiting) + b"\n", index=index)
            refused: list[bytes] = []
            for place, item in enumerate(answer["items"]):
                (result,) = item.values()
                if result["status"] in PASSING:
                    refused += waiting[2 * place : 2 * place + 2]
                elif result["status"] >= 300:
                    identity = orjson.loads(waiting[2 * place + 1])["id"]
                    raise RetrievalError(
                        f"OpenSearch refuses the document {identity!r}: {_reason(result.get('error'))}"
                    )
            waiting[:] = refused
            if refused:
                raise _Again(f"too busy for {len(refused) // 2} documents")

        self._patiently(index, "take documents", attempt)

    def complete(self, index: str, replicas: int) -> None:
        """Make all documents visible, take no more, and copy the index to `replicas` other nodes."""
        settings = {"index": {"refresh_interval": None, "number_of_replicas": replicas, "blocks": {"write": True}}}
        self._patiently(index, "finish the index", lambda: self._client.indices.refresh(index=index))
        self._patiently(
            index, "finish the index", lambda: self._client.indices.put_settings(index=index, body=settings)
        )

    def count(self, index: str) -> int:
        """Return how many documents the index holds. Raises IndexStateError when there is no such index."""
        found: int = self._patiently(index, "count documents", lambda: self._client.count(index=index)["count"])
        return found

    def searches(self, index: str, queries: Sequence[Mapping[str, Any]], search_type: str) -> list[Mapping[str, Any]]:
        """Return one answer a query, in order, all of them complete. Raises RetrievalError."""
        head = orjson.dumps({"index": index, "search_type": search_type, "allow_partial_search_results": False})
        body = b"".join(head + b"\n" + orjson.dumps(query) + b"\n" for query in queries)

        def attempt() -> list[Mapping[str, Any]]:
            answers: list[Mapping[str, Any]] = self._client.msearch(body=body)["responses"]
            for answer in answers:
                self._check(index, answer)
            return answers

        found: list[Mapping[str, Any]] = self._patiently(index, "search", attempt)
        return found

    def _check(self, index: str, answer: Mapping[str, Any]) -> None:
        """Raise unless one query's answer is whole."""
        if "error" in answer:
            if answer.get("status") == 404:
                raise self._missing(index)
            reason = _reason(answer["error"])
            raise _Again(reason) if answer.get("status") in PASSING else RetrievalError(f"OpenSearch failed: {reason}")
        if answer.get("timed_out") or answer["_shards"]["failed"]:
            raise _Again("a part of the index did not answer")

    def _patiently(self, index: str, doing: str, attempt: Callable[[], Any]) -> Any:
        """Return the result of `attempt`, tried again for as long as what went wrong may pass."""
        for wait in (*self._waits, None):
            try:
                return attempt()
            except (TransportError, _Again) as error:
                if wait is None or not _may_pass(error):
                    raise self._in_words(index, doing, error) from error
            time.sleep(wait * random.uniform(0.5, 1))
        raise AssertionError("the last wait is None")

    def _missing(self, index: str) -> IndexStateError:
        return IndexStateError(
            f"there is no index {index!r} at {self.hosts}: set OPENSEARCH_HOSTS to the servers that have it, or build "
            "it again"
        )

    def _in_words(self, index: str, doing: str, error: TransportError | _Again) -> RetrievalError:
        if isinstance(error, _Again):
            return RetrievalError(f"OpenSearch at {self.hosts} could not {doing}: {error}")
        if isinstance(error, NotFoundError):
            return self._missing(index)
        if isinstance(error, NoConnection):
            return RetrievalError(
                f"no OpenSearch node answers at {self.hosts} ({error.error}): start one, or set OPENSEARCH_HOSTS to "
                "where they are"
            )
        if error.status_code in (401, 403):
            return RetrievalError(
                f"OpenSearch at {self.hosts} refuses to {doing} ({error.status_code}): set OPENSEARCH_USER and "
                "OPENSEARCH_PASSWORD to a user who may"
            )
        return RetrievalError(
            f"OpenSearch at {self.hosts} could not {doing}: {error.status_code} {_reason(error.info) or error.error}"
        )


def _may_pass(error: TransportError | _Again) -> bool:
    if isinstance(error, NoConnection):
        return not isinstance(error, SSLError)
    return isinstance(error, _Again) or error.status_code in PASSING


def _reason(error: Any) -> str:
    """Return what a server's error says, the innermost reason."""
    while isinstance(error, Mapping):
        causes = error.get("root_cause")
        error = error.get("error") or error.get("caused_by") or (causes[0] if causes else error.get("reason", ""))
    return str(error or "")
