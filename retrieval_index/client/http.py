"""Servers over HTTP, asked through one pool of kept connections."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import aiohttp

from retrieval_index.client.answers import WrongAnswerError, read_answer, read_error, read_retry_after, write_question
from retrieval_index.client.places import AttemptError
from retrieval_index.documents import Hit

INDEX_HEADER = "x-retrieval-index"
KEPT_S = 60.0
"""Seconds an idle connection is kept: less than in the service, so that normally no request meets a closed one."""

CONNECTIONS = 256
"""Most connections of one retriever, over all its servers; further calls wait for one within their time."""

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that another attempt may not meet."""


@dataclass(slots=True)
class _Identity:
    """The index that the servers answer from: what the first answer said, and which server said it."""

    value: str = ""
    server: str = ""


class Connections:
    """The pool that the servers of one retriever share; each event loop gets a new one."""

    def __init__(self, token: str | None, corpus_hash: str = "") -> None:
        """Send `token`, if there is one, with every request; see `connect` for `corpus_hash`."""
        self.corpus_hash = corpus_hash
        self._headers = {"content-type": "application/json"}
        if token:
            self._headers["authorization"] = f"Bearer {token}"
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._abandon: Callable[[], object] = lambda: None
        self.identity = _Identity()

    def session(self) -> aiohttp.ClientSession:
        """Return the running loop's session."""
        loop = asyncio.get_running_loop()
        if self._session is None or self._loop is not loop:
            self._abandon()
            connector = aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=KEPT_S)
            timeout = aiohttp.ClientTimeout(total=None)
            self._session = aiohttp.ClientSession(connector=connector, headers=self._headers, timeout=timeout)
            self._loop = loop
            self._abandon = weakref.finalize(self, _abandon, self._session, connector)
        return self._session

    async def close(self) -> None:
        """Close the connections, if this loop made them."""
        session, self._session = self._session, None
        if session is not None and self._loop is asyncio.get_running_loop():
            await session.close()
        self._abandon()


def _abandon(session: aiohttp.ClientSession, connector: aiohttp.TCPConnector) -> None:
    """Drop connections whose event loop is over, since the process ends or another loop asks."""
    session.detach()
    connector.__exit__(None, None, None)  # closing without awaiting


class HttpServer:
    """One server at a base address such as http://host:8000."""

    def __init__(self, address: str, connections: Connections) -> None:
        """Ask the server at `address` over `connections`."""
        self.name = address
        self._url = f"{address}/retrieve"
        self._connections = connections

    async def search(self, queries: Sequence[str], top_k: int, timeout_s: float) -> list[list[Hit]]:
        """See `Place.search`."""
        question = write_question(list(queries), top_k)
        try:
            async with asyncio.timeout(timeout_s), self._connections.session().post(self._url, data=question) as answer:
                body = await answer.read()
        except TimeoutError:
            raise AttemptError(f"no answer within {timeout_s:.3g} s", timed_out=True) from None
        except (aiohttp.ClientError, OSError) as error:
            raise AttemptError(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__) from error
        if answer.status != 200:
            raise self._refused(answer, body)
        self._check_identity(answer.headers.get(INDEX_HEADER, ""))
        try:
            return read_answer(body, len(queries), top_k)
        except WrongAnswerError as error:
            raise AttemptError(f"its answer {error}") from error

    async def close(self) -> None:
        """Close the shared connections."""
        await self._connections.close()

    def _refused(self, answer: aiohttp.ClientResponse, body: bytes) -> AttemptError:
        if answer.status in (401, 403):
            sentence = "it wants another token: put it into the environment variable that token_env names"
            return AttemptError(f"status {answer.status} ({read_error(body)}); {sentence}", lasting=True)
        return AttemptError(
            f"status {answer.status}: {read_error(body)}",
            retry_after_s=read_retry_after(answer.headers.get("retry-after")),
            lasting=answer.status not in _PASSING,
        )

    def _check_identity(self, value: str) -> None:
        """Refuse an answer over another corpus than wanted, or from another index than the first answer.

        A server that does not say is trusted if no corpus is wanted.
        """
        wanted = self._connections.corpus_hash
        if wanted and (not value or not value.startswith(wanted[: len(value)])):
            says = f"has the corpus hash {value}" if value else "does not tell its corpus"
            raise AttemptError(f"it {says}, not {wanted}: serve the right index", lasting=True)
        known = self._connections.identity
        if not known.value:
            known.value, known.server = value, self.name
        elif value and value != known.value:
            raise AttemptError(
                f"it answers from another index ({value}) than {known.server} did ({known.value}): serve the same one"
            )
