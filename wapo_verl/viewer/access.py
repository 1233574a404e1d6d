"""Who may ask the viewer, and what a browser may do with its answers."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from starlette.middleware.trustedhost import TrustedHostMiddleware

from wapo_verl.viewer.answer import Answer

COOKIE = "wapo_verl_view"
OWN_NAMES = ["localhost", "127.0.0.1"]
HEADERS = {
    # Scripts and styles of this address alone, no frames, no forms, no other host: a policy's text can do nothing.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def guard(app: FastAPI, token: str | None) -> None:
    """Have an application refuse what is not allowed, and say in every answer what its reader may load.

    Args:
        app: the application.
        token: what the address must hold the first time (`?token=...`; a cookie keeps it); None asks for none, and
            then answers requests to this machine's own names alone: a page of another host could give its name this
            machine's address, and ask through the browser.
    """

    @app.middleware("http")
    async def guard_requests(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        answer = _refusal(request, token) or await go_on(request)
        answer.headers.update(HEADERS)
        given = request.query_params.get("token")
        if token is not None and given is not None and hmac.compare_digest(given.encode(), token.encode()):
            answer.set_cookie(COOKIE, token, httponly=True, samesite="strict")
        return answer

    if token is None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=OWN_NAMES)


def _refusal(request: Request, token: str | None) -> Response | None:
    """Return the answer to a request that has no token, or that changes something; None where it may go on."""
    if request.method not in ("GET", "HEAD"):
        return Answer({"error": "the viewer only reads"}, status_code=405)
    if token is None or request.scope["path"].startswith("/static/"):
        return None
    given = request.query_params.get("token") or request.cookies.get(COOKIE) or ""
    if hmac.compare_digest(given.encode(), token.encode()):
        return None
    return Answer({"error": "the address must end with the ?token=... that `wapo-verl view` printed"}, status_code=403)
