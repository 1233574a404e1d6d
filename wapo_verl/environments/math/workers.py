"""A small pool of processes that compare answers, so that none of them can hang or crash the process that trains.

Each worker is a Python of its own (`wapo_verl.environments.math.worker`), started when it is first needed, kept, and
replaced when it has died or was killed at a limit. Safe to call from many threads; it blocks the calling thread, so an
event loop calls it through an executor, as veRL calls a reward function. Not ``ProcessPoolExecutor``: one dead worker
breaks all of that. Not ``multiprocessing``: a spawned process would run the main module again, and daemons may not have
any.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from wapo_verl.environments.math.worker import OUT_OF_MEMORY, READY

TIMED_OUT, WORKER_DIED = "timed_out", "worker_died"
WALL_TIME_FACTOR = 12
"""The wall clock's limit as a multiple of the CPU time's: for a worker that neither computes nor answers."""
START_SECONDS = 300.0
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What the verifier may use.

    Attributes:
        workers: processes of one pool; each process of the trainer that scores has its own pool.
        seconds: CPU time an answer may take.
        megabytes: address space of a worker (its libraries take some 65).
    """

    workers: int = 2
    seconds: float = 5.0
    megabytes: int = 1_024

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value > 0:
                raise ValueError(f"the verifier's {name} must be above 0, not {value!r}")
        if self.megabytes < 512:
            raise ValueError(f"the verifier's megabytes must be at least 512, not {self.megabytes}")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> WorkerLimits:
        """Return the limits that a user's mapping names, the rest as they are by default.

        Raises:
            ValueError: for an unknown name, or a value that is no number or out of its range.
        """
        kinds = {name: type(value) for name, value in asdict(cls()).items()}
        unknown = sorted(set(given) - set(kinds))
        if unknown:
            raise ValueError(f"the verifier has no limit {unknown[0]!r}; its limits are {', '.join(kinds)}")
        try:
            return cls(**{name: kinds[name](value) for name, value in given.items()})
        except TypeError as error:
            raise ValueError(f"the verifier's limits must be numbers: {dict(given)}") from error


class WorkerError(RuntimeError):
    """A worker cannot be started; the message says why."""


class Worker:
    """One process and the socket to it. Not safe to share between threads."""

    def __init__(self, limits: WorkerLimits) -> None:
        self.limits = limits
        ours, theirs = socket.socketpair()
        with theirs:
            arguments = [str(theirs.fileno()), str(limits.seconds), str(limits.megabytes)]
            self.process = subprocess.Popen(
                [sys.executable, "-c", _START, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={**os.environ, "WAPO_PYTHON_PATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
            )
        self._socket = ours
        self._stream = ours.makefile("rwb")
        self._started = False

    def ask(self, gold: str, answer: str) -> str:
        """Return the verdict of ``equivalence.compare``, or ``TIMED_OUT`` or ``WORKER_DIED``; then it is over.

        Raises:
            WorkerError: when it does not start by its own fault (a package is missing).
        """
        if not self._started and not self._start():
            return WORKER_DIED
        self._socket.settimeout(self.limits.seconds * WALL_TIME_FACTOR)
        try:
            self._stream.write(json.dumps([gold, answer]).encode() + b"\n")
            self._stream.flush()
            verdict = self._line()
        except TimeoutError:
            self.close()
            return TIMED_OUT
        except OSError:
            verdict = ""
        if verdict:
            return verdict
        self.close()
        return TIMED_OUT if self.process.returncode == -signal.SIGPROF else WORKER_DIED

    def _start(self) -> bool:
        """Wait until the imports are done; False where somebody killed the process meanwhile."""
        self._socket.settimeout(START_SECONDS)
        try:
            self._started = self._line() == READY
        except (TimeoutError, ConnectionError):
            self._started = False
        if self._started:
            return True
        self.close()
        if self.process.returncode >= 0:
            raise WorkerError(
                f"the math verifier's process ended at its start with status {self.process.returncode}; what it wrote "
                "to stderr stands above (`python -c 'import wapo_verl.environments.math.algebra'` shows it again)"
            )
        return False

    def _line(self) -> str:
        """Return the next line, "" where the worker has ended."""
        return self._stream.readline().decode().strip()

    @property
    def alive(self) -> bool:
        """Whether the process runs and can be asked."""
        return self.process.poll() is None and not self._stream.closed

    def close(self) -> None:
        """End the process and wait for it; one that ended by itself keeps its own status."""
        for thing in (self._stream, self._socket):
            with contextlib.suppress(OSError):  # what was not sent cannot be sent any more
                thing.close()
        try:
            self.process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


# Not `-m`: the worker must find the same packages as this process, wherever this one has them from.
_START = (
    "import os, sys; sys.path[:] = os.environ.pop('WAPO_PYTHON_PATH').split(os.pathsep); "
    "from wapo_verl.environments.math.worker import main; main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))"
)


class WorkerPool:
    """So many workers, none of them started before it is needed; a thread waits while all are busy."""

    def __init__(self, limits: WorkerLimits | None = None) -> None:
        self.limits = limits or WorkerLimits()
        self._slots: queue.LifoQueue[Worker | None] = queue.LifoQueue()
        for _ in range(self.limits.workers):
            self._slots.put(None)
        self._closed = False

    def ask(self, gold: str, answer: str) -> str:
        """Return the verdict on an answer, or ``TIMED_OUT`` or ``WORKER_DIED``.

        A worker that died for another reason than its limits (the machine ran short of memory, somebody killed it) says
        nothing about the answer, so the answer is tried once more on a fresh one.

        Raises:
            WorkerError: when no worker can be started.
        """
        if self._closed:
            raise WorkerError("the math verifier's pool has been closed")
        kept = self._slots.get()
        try:
            for _ in range(2):
                worker = kept = kept if kept and kept.alive else self._fresh(kept)
                verdict = worker.ask(gold, answer)
                if verdict != WORKER_DIED or worker.process.returncode == OUT_OF_MEMORY:
                    break
        finally:
            self._slots.put(kept)
        if verdict in (TIMED_OUT, WORKER_DIED):
            _LOG.warning("math verifier: %s, gold %.200r, answer %.200r", verdict, gold, answer)
        return verdict

    def _fresh(self, old: Worker | None) -> Worker:
        if old:
            old.close()
        return Worker(self.limits)

    def close(self) -> None:
        """End all workers, once those that are busy have answered."""
        self._closed = True
        for _ in range(self.limits.workers):
            if worker := self._slots.get():
                worker.close()


_lock = threading.Lock()
_pool: WorkerPool | None = None
_pool_of: int | None = None


def pool(limits: WorkerLimits | None = None) -> WorkerPool:
    """Return this process's pool, made at the first call; other limits than its own replace it, None leaves them.

    A forked process gets one of its own: two processes on one socket would read each other's verdicts.
    """
    global _pool, _pool_of
    with _lock:
        if _pool is None or _pool_of != os.getpid():
            _pool, _pool_of = WorkerPool(limits), os.getpid()
        elif limits is not None and limits != _pool.limits:
            old, _pool = _pool, WorkerPool(limits)
            threading.Thread(target=old.close, daemon=True).start()
        return _pool


@atexit.register
def _close_pool() -> None:
    """Close the sockets, upon which idle workers end; busy ones are killed by their own limit at the latest."""
    if _pool is not None and _pool_of == os.getpid():
        while True:
            try:
                worker = _pool._slots.get_nowait()
            except queue.Empty:
                return
            if worker:
                worker.close()
