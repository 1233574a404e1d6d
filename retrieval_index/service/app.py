"""The whole application: POST /retrieve, and GET /health, /ready, /info and /metrics."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

import orjson
from fastapi import FastAPI, Response
from fastapi.exceptions import HTTPException
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from retrieval_index.index import open_index
from retrieval_index.service.answers import error_body, read_rest, send_error
from retrieval_index.service.batching import Batcher
from retrieval_index.service.metrics import CONTENT_TYPE, ServiceMetrics
from retrieval_index.service.retrieve import Retrieve
from retrieval_index.service.settings import ServiceSettings

OPEN_PATHS = frozenset({"/health", "/ready"})
"""What needs no token: orchestrators ask here, and learn nothing but the state."""

IDENTITY_CHARACTERS = 16


def create_app(settings: ServiceSettings) -> FastAPI:
    """Open the index and make the application over it. Raises IndexStateError if the index cannot be opened."""
    index = open_index(settings.index)
    metrics = ServiceMetrics(index.manifest.documents)
    batcher = Batcher(
        index,
        metrics,
        threads=settings.threads_each,
        max_batch=settings.max_batch,
        queue_limit=settings.queue_limit,
        max_wait_s=settings.max_wait_s,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(batcher.close)

    app = FastAPI(lifespan=lifespan, openapi_url=None, redirect_slashes=False)
    retrieve = Retrieve(settings, batcher, metrics, index.manifest.corpus_hash[:IDENTITY_CHARACTERS])
    app.router.routes.append(Route("/retrieve", retrieve, methods=["POST"]))
    info = orjson.dumps({"manifest": asdict(index.manifest), "limits": _limits(settings)})

    @app.get("/health")
    async def health() -> Response:
        return _json({"status": "alive"})

    @app.get("/ready")
    async def ready() -> Response:
        if batcher.is_full:
            raise HTTPException(503, "the queue is full", headers={"Retry-After": "1"})
        return _json({"status": "ready"})

    @app.get("/info")
    async def information() -> Response:
        return Response(info, media_type="application/json")

    @app.get("/metrics")
    async def prometheus() -> Response:
        return Response(await asyncio.to_thread(metrics.text), headers={"content-type": CONTENT_TYPE})

    app.add_exception_handler(StarletteHTTPException, _http_error)
    app.add_exception_handler(Exception, _failure)
    if settings.token is not None:
        app.add_middleware(BearerToken, token=settings.token)
    return app


class BearerToken:
    """Refuses everybody without the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        """Guard `app` by `token`, which is ASCII."""
        self._app, self._expected = app, b"Bearer " + token.encode("ascii")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, or pass the request on."""
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            if not hmac.compare_digest(given, self._expected):
                word = "wrong" if given else "missing"
                await read_rest(receive)
                await send_error(send, 401, f"the token is {word}: send the header Authorization: Bearer TOKEN")
                return
        await self._app(scope, receive, send)


def _limits(settings: ServiceSettings) -> dict[str, Any]:
    names = ("default_top_k", "max_top_k", "max_queries", "max_documents", "max_body_bytes", "queue_limit", "workers")
    return {name: getattr(settings, name) for name in names}


def _json(record: dict[str, Any]) -> Response:
    return Response(orjson.dumps(record), media_type="application/json")


async def _http_error(request: Request, error: Exception) -> Response:
    """Answer 404, 405 and what the handlers above raise."""
    assert isinstance(error, StarletteHTTPException)
    await read_rest(request.receive)
    sentence, path = str(error.detail), request.scope["path"][:100]
    if error.status_code == 404:
        sentence = f"there is no {path} here: POST /retrieve, or GET /health, /ready, /info or /metrics"
    elif error.status_code == 405:
        sentence = f"{path} does not take {request.method}"
    body = error_body(error.status_code, sentence)
    return Response(body, error.status_code, headers=dict(error.headers or {}), media_type="application/json")


async def _failure(_: Request, error: Exception) -> Response:
    return Response(error_body(500, f"the server failed: {error}"), 500, media_type="application/json")
