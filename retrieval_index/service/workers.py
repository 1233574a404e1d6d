"""The processes of a service: one that serves, or one that watches over several that share its socket.

On SIGTERM or SIGINT the service stops taking, answers what it has taken and ends with status 0. A worker that dies is
replaced; one that dies as it starts ends the service. Workers whose parent is gone end as well, and clean.
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
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Any

import uvicorn
from prometheus_client.multiprocess import mark_process_dead

from retrieval_index.errors import RetrievalError
from retrieval_index.index import open_index
from retrieval_index.manifest import Manifest
from retrieval_index.service.app import create_app
from retrieval_index.service.metrics import FOLDER_VARIABLE
from retrieval_index.service.settings import ServiceSettings

BACKLOG = 2048
AFTER_DRAIN_S = 5.0
"""Seconds beyond `drain_s` after which a worker that still lives is killed."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def serve(settings: ServiceSettings, announce: Callable[[str], None]) -> int:
    """Serve until a signal comes, and return the exit status.

    `announce` gets one line, with the address, when callers may come. Raises RetrievalError, before anything is
    started, where the index cannot be opened or the address is taken.
    """
    manifest = open_index(settings.index).manifest
    _allow_many_connections()
    listener = _listen(settings)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    line = f"serving {manifest.documents:,} documents at http://{shown}:{port} (workers: {settings.workers})"
    with listener:
        if settings.workers == 1:
            status = _work(settings, listener, partial(announce, line))
        else:
            with _metrics_folder():
                status = _Watch(settings, listener, manifest.corpus_hash).run(partial(announce, line))
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # a second one, as the interpreter ends, must not spoil the status
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


class _Server(uvicorn.Server):
    """uvicorn's, which ends with status 0 after a signal (its own raises the signal again), and says when it is up."""

    announce: Callable[[], None] = staticmethod(lambda: None)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        for number in _SIGNALS:
            signal.signal(number, self.handle_exit)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.announce()


def _work(settings: ServiceSettings, listener: socket.socket, announce: Callable[[], None]) -> int:
    """Serve in this process until a signal comes."""
    config = uvicorn.Config(
        create_app(settings),
        log_level="warning",
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=75,  # longer than clients keep idle connections, so that they are the ones to close
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
    )
    server = _Server(config)
    server.announce = announce
    server.run(sockets=[listener])
    return 0 if server.started else 1


def _worker(settings: ServiceSettings, listener: socket.socket, corpus_hash: str, started: Any) -> None:
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    if Manifest.read(settings.index).corpus_hash != corpus_hash:
        sys.stderr.write(
            f"error: the index at {settings.index} is another one than this service began with, and one service "
            "answers from one index: start it again\n"
        )
        raise SystemExit(1)
    raise SystemExit(_work(settings, listener, started.set))


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _metrics_folder() -> Iterator[None]:
    """A folder that workers share their numbers through, named in the environment that they get."""
    with tempfile.TemporaryDirectory(prefix="retrieval-metrics-") as folder:
        os.environ[FOLDER_VARIABLE] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER_VARIABLE]


class _Watch:
    """Starts the workers, replaces those that die, and ends them all on a signal."""

    def __init__(self, settings: ServiceSettings, listener: socket.socket, corpus_hash: str) -> None:
        self._settings, self._listener, self._corpus_hash = settings, listener, corpus_hash
        self._context = multiprocessing.get_context("spawn")
        self._ending = False
        self._workers: dict[SpawnProcess, Any] = {}
        """Each with the event that is set once it serves."""

    def run(self, announce: Callable[[], None]) -> int:
        wake, waker = os.pipe()
        os.set_blocking(waker, False)
        for number in _SIGNALS:
            signal.signal(number, self._end)
        signal.set_wakeup_fd(waker)
        for _ in range(self._settings.workers):
            self._start()
        started = list(self._workers.values())
        threading.Thread(target=self._announce, args=(started, announce), daemon=True).start()
        status = 0
        while not self._ending:
            wait([wake, *(worker.sentinel for worker in self._workers)])
            status = self._replace_the_dead()
        signal.set_wakeup_fd(-1)
        self._end_all()
        return status

    def _announce(self, started: list[Any], announce: Callable[[], None]) -> None:
        for event in started:
            event.wait()
        announce()

    def _start(self) -> None:
        started = self._context.Event()
        worker = self._context.Process(
            target=_worker, args=(self._settings, self._listener, self._corpus_hash, started)
        )
        worker.start()
        self._workers[worker] = started

    def _end(self, *_: object) -> None:
        self._ending = True

    def _replace_the_dead(self) -> int:
        """Start a worker for each that has died; 1 where that would not help."""
        for worker in [worker for worker in self._workers if not worker.is_alive()]:
            started = self._workers.pop(worker)
            mark_process_dead(worker.pid)
            if self._ending:
                continue
            if not started.is_set():
                self._ending = True
                return 1
            self._start()
        return 0

    def _end_all(self) -> None:
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            worker.join(self._settings.drain_s + AFTER_DRAIN_S)
            if worker.is_alive():
                worker.kill()
