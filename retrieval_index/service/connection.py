"""uvicorn's HTTP connection with bounds on a request's header, of which uvicorn has none: its size and its duration."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEADER_BYTES = 65_536
HEADER_S = 30.0
"""Seconds that the first header of a connection, and each later one, may take to arrive."""


log = logging.getLogger(__name__)
log.setLevel(logging.ERROR)  # uvicorn warns of each request that is none, so that any caller could fill the log


class BoundedConnection(HttpToolsProtocol):
    """Closes a connection whose header is too long or takes too long; the body's bounds are the application's."""

    _header_timer: asyncio.TimerHandle | None = None
    _header_bytes = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Make uvicorn's connection, with a log that callers cannot fill."""
        super().__init__(*args, **kwargs)
        self.logger = log

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first header."""
        super().connection_made(transport)
        self._wait_for_header()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Begin to wait for the rest of a header."""
        self._wait_for_header()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Parse what came, and refuse what is still a header after too many bytes."""
        super().data_received(data)
        if self._header_timer is not None:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES and not self.transport.is_closing():
                self.send_400_response(f"the header is longer than {MAX_HEADER_BYTES} bytes")

    def _wait_for_header(self) -> None:
        self._stop_waiting()
        self._header_timer = self.loop.call_later(HEADER_S, self.timeout_keep_alive_handler)

    def _stop_waiting(self) -> None:
        self._header_bytes = 0
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None
