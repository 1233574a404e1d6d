"""POST /retrieve as a plain ASGI application: the one path where microseconds count."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence
from typing import Any

from starlette.types import Receive, Scope, Send

from retrieval_index.documents import Hit
from retrieval_index.service.answers import JSON, Header, read_rest, send_answer, send_error
from retrieval_index.service.batching import Batcher, QueueFullError
from retrieval_index.service.contracts import RefusedRequest, Request, read_request, write_answer
from retrieval_index.service.metrics import ServiceMetrics
from retrieval_index.service.settings import ServiceSettings

Found = list[list[Hit]]

log = logging.getLogger("retrieval_index.service")

INDEX_HEADER = b"x-retrieval-index"
"""Every answer carries the start of the corpus hash, so that a client notices if another index answers."""

MANY_DOCUMENTS = 1000
"""An answer that may hold more is written in a thread: a few hundred take a millisecond."""

BODY_S = 60.0
"""Seconds that a body may take to arrive."""


class Retrieve:
    """Reads a request, has it searched, and answers it in its own contract."""

    def __init__(self, settings: ServiceSettings, batcher: Batcher, metrics: ServiceMetrics, identity: str) -> None:
        """Answer by `batcher` within the limits of `settings`; `identity` names the index in every answer."""
        self._settings, self._batcher, self._metrics = settings, batcher, metrics
        self._headers: Sequence[Header] = (JSON, (INDEX_HEADER, identity.encode()))
        self._counted = {}  # looked up once: a label's lookup in each request is what counting costs most
        for contract in ("wapo", "search_r1"):
            self._counted[contract] = metrics.requests.labels(contract, "200")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every refusal and every failure is a JSON error."""
        request: Request | None = None
        try:
            try:
                async with asyncio.timeout(BODY_S):
                    body = await self._body(scope, receive)
            except TimeoutError:
                raise RefusedRequest(408, f"the body has not arrived within {BODY_S:g} s: send it again") from None
            if body is None:
                return  # the caller is gone
            started = time.perf_counter()
            request = read_request(body, self._settings)
            found = await _unless_gone(receive, self._batcher.search(request.queries, request.top_k))
            if found is None:
                return
            large = len(request.queries) * request.top_k > MANY_DOCUMENTS
            answer = await asyncio.to_thread(write_answer, request, found) if large else write_answer(request, found)
        except RefusedRequest as refused:
            await self._refuse(send, request, refused)
        except QueueFullError as full:
            await self._refuse(send, request, RefusedRequest(503, str(full), full.retry_after_s))
        except Exception as error:
            log.exception("a search failed")
            await self._refuse(send, request, RefusedRequest(500, f"the search failed: {error}"))
        else:
            self._counted[request.contract].inc()
            self._metrics.queries.inc(len(request.queries))
            self._metrics.seconds.observe(time.perf_counter() - started)
            await send_answer(send, 200, self._headers, answer)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """Return the request's body, or None if the caller is gone. Raises RefusedRequest for one over the limit."""
        limit = self._settings.max_body_bytes
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if int(announced) > limit:
            await read_rest(receive)
            raise _too_large(limit)
        message = await receive()
        if not message.get("more_body", False):
            body: bytes = message.get("body", b"")
            return None if message["type"] == "http.disconnect" else _within(body, limit)
        parts = [message["body"]]
        size = len(parts[0])
        while message.get("more_body", False):
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limit:
                if message.get("more_body", False):
                    await read_rest(receive)
                raise _too_large(limit)
        return b"".join(parts)

    async def _refuse(self, send: Send, request: Request | None, refused: RefusedRequest) -> None:
        contract = request.contract if request else "none"
        self._metrics.requests.labels(contract, str(refused.status)).inc()
        await send_error(send, refused.status, refused.sentence, refused.retry_after_s)


async def _unless_gone(receive: Receive, searching: Coroutine[Any, Any, Found]) -> Found | None:
    """Return what the search finds; None if the caller hangs up before, and then the search is given up."""
    search, gone = asyncio.ensure_future(searching), asyncio.ensure_future(receive())
    try:
        await asyncio.wait((search, gone), return_when=asyncio.FIRST_COMPLETED)
        return search.result() if search.done() else None
    finally:
        for task in (search, gone):
            task.cancel()


def _too_large(limit: int) -> RefusedRequest:
    return RefusedRequest(413, f"the body is over {limit} bytes: send the queries in parts")


def _within(body: bytes, limit: int) -> bytes:
    if len(body) > limit:
        raise _too_large(limit)
    return body
