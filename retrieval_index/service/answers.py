"""Answers over ASGI. Every error is JSON, {"error": {"status", "message"}}, and the message is one sentence."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import orjson
from starlette.types import Receive, Send

Header = tuple[bytes, bytes]
JSON: Header = (b"content-type", b"application/json")

REST_S = 10.0
"""Seconds that are spent on reading the rest of a body that is refused."""


async def send_answer(send: Send, status: int, headers: Sequence[Header], body: bytes) -> None:
    """Send a whole answer."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


def error_body(status: int, sentence: str) -> bytes:
    """Return the body of an error."""
    return orjson.dumps({"error": {"status": status, "message": sentence}})


async def send_error(send: Send, status: int, sentence: str, retry_after_s: int | None = None) -> None:
    """Send an error, with Retry-After if the caller may come again, and with the challenge that a 401 must have."""
    headers = [JSON]
    if retry_after_s is not None:
        headers.append((b"retry-after", str(retry_after_s).encode()))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send_answer(send, status, headers, error_body(status, sentence))


async def read_rest(receive: Receive) -> None:
    """Read a body to its end and drop it, for at most `REST_S`; call it only if the end has not been read.

    A connection that is closed with data unread is reset, and its caller gets no answer.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(REST_S):
            while (await receive()).get("more_body", False):
                pass
