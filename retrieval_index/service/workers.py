"""The processes of a service: one that serves, or several workers under uvicorn's supervisor, on one socket.

On SIGTERM or SIGINT the service accepts no more requests, answers those it has accepted, and ends with status 0. A
worker that dies, or does not react for `HANGS_S`, is replaced; one that cannot open the index ends the service. Workers
whose parent is gone end too.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import uvicorn
from fastapi import FastAPI
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from retrieval_index.errors import IndexStateError, RetrievalError
from retrieval_index.index import open_index
from retrieval_index.manifest import Manifest
from retrieval_index.service.app import create_app
from retrieval_index.service.connection import BoundedConnection
from retrieval_index.service.metrics import FOLDER_VARIABLE
from retrieval_index.service.settings import ServiceSettings

BACKLOG = 2048
HANGS_S = 20
"""Seconds without a reaction after which a worker is replaced."""

AFTER_DRAIN_S = 5.0
"""Seconds beyond `drain_s` after which a worker that is still there is killed."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def serve(settings: ServiceSettings, announce: Callable[[str], None]) -> int:
    """Serve until a signal comes, and return the exit status.

    Args:
        settings: What to serve, and how.
        announce: Gets one line, with the address, when the service answers.

    Raises:
        RetrievalError: Before anything is started, if the index cannot be opened or the address is taken.
    """
    manifest = open_index(settings.index).manifest
    _allow_many_connections()
    listener = _listen(settings)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    line = f"serving {manifest.documents:,} documents at http://{shown}:{port} (workers: {settings.workers})"
    with listener:
        if settings.workers == 1:
            status = _Server(_config(settings, partial(create_app, settings)), partial(announce, line)).serve_on(
                listener
            )
        else:
            config = _config(settings, partial(_worker, settings, manifest.corpus_hash))
            with _metrics_folder():
                status = _Workers(config, listener, settings.drain_s, partial(announce, line)).serve()
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # a second one, while the interpreter ends, must not change the status
    return status


def _allow_many_connections() -> None:
    """Raise the number of open files to what this user may have: every caller's connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _listen(settings: ServiceSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise RetrievalError(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror}): choose another --host or --port"
        ) from error


def _config(settings: ServiceSettings, make_app: Callable[[], FastAPI]) -> uvicorn.Config:
    return uvicorn.Config(
        make_app,
        factory=True,
        workers=settings.workers,
        log_level="warning",
        access_log=False,
        server_header=False,
        http=BoundedConnection,
        ws="none",
        backlog=BACKLOG,
        timeout_keep_alive=75,  # longer than clients keep idle connections, so that they are the ones to close
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
        timeout_worker_healthcheck=HANGS_S,
    )


class _Server(uvicorn.Server):
    """uvicorn's server, but it ends with status 0 after a signal (its own raises the signal again)."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    def serve_on(self, listener: socket.socket) -> int:
        self.run(sockets=[listener])
        return 0 if self.started else 1

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        for number in _SIGNALS:
            signal.signal(number, self.handle_exit)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._announce()


class _Workers(Multiprocess):
    """uvicorn's supervisor, which also announces, keeps the metrics of the living apart, and ends in bounded time."""

    def __init__(
        self, config: uvicorn.Config, listener: socket.socket, drain_s: float, announce: Callable[[], None]
    ) -> None:
        super().__init__(config, [listener])
        self._drain_s, self._announce, self._is_announced = drain_s, announce, False

    def serve(self) -> int:
        self.run()
        return 1 if any(process.exitcode == STARTUP_FAILURE for process in self.processes) else 0

    def keep_subprocess_alive(self) -> None:
        for process in self.processes:
            if not process.process.is_alive():
                mark_process_dead(process.pid)
        super().keep_subprocess_alive()
        if not self._is_announced and all(process.is_ready() for process in self.processes):
            self._is_announced = True
            self._announce()

    def join_all(self) -> None:
        for process in self.processes:
            process.process.join(self._drain_s + AFTER_DRAIN_S)
            if process.process.is_alive():
                process.kill()


def _worker(settings: ServiceSettings, corpus_hash: str) -> FastAPI:
    """Make one worker's application; end the service if the index cannot be opened or was replaced."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    try:
        if Manifest.read(settings.index).corpus_hash != corpus_hash:
            raise IndexStateError(
                f"the index at {settings.index} is another one than this service began with, and one service answers "
                "from one index: start it again"
            )
        return create_app(settings)
    except RetrievalError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(STARTUP_FAILURE) from error


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _metrics_folder() -> Iterator[None]:
    """Make a folder that workers share their metrics through, and name it in their environment."""
    with tempfile.TemporaryDirectory(prefix="retrieval-metrics-") as folder:
        os.environ[FOLDER_VARIABLE] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER_VARIABLE]
