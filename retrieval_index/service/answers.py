"""Answers over ASGI. Every error is JSON, {"error": {"status", "message"}}, the message being one sentence."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from starlette.types import Send

Header = tuple[bytes, bytes]
JSON: Header = (b"content-type", b"application/json")


async def send_answer(send: Send, status: int, headers: Sequence[Header], body: bytes) -> None:
    """Send a whole answer."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


def error_body(status: int, sentence: str) -> bytes:
    """Return the body of an error."""
    return orjson.dumps({"error": {"status": status, "message": sentence}})


async def send_error(send: Send, status: int, sentence: str, retry_after_s: int | None = None) -> None:
    """Send an error, with Retry-After where it makes sense to come again, and the challenge that a 401 must have."""
    headers = [JSON]
    if retry_after_s is not None:
        headers.append((b"retry-after", str(retry_after_s).encode()))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send_answer(send, status, headers, error_body(status, sentence))
