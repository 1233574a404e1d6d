"""Measure the memory of this process and all processes that it started.

A page that several processes have in memory counts once: each has its share of it (Linux's proportional set size).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from types import TracebackType

import psutil

EVERY_SECONDS = 1.0

GROWTH = 1.02
"""How much more must be resident before shares are added up again: that takes a second of a processor for 8 GB."""


def family_bytes() -> int:
    """Return the memory of this process and its descendants, in bytes."""
    return _sum(lambda process: process.memory_full_info().pss)


def _sum(size: Callable[[psutil.Process], int]) -> int:
    """Add up a size of this process and its descendants; one that has ended since it was listed has none."""
    parent = psutil.Process()
    total = 0
    for process in [parent, *parent.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            total += size(process)
    return total


class PeakMemory:
    """A context that looks at the family's memory once a second in a thread; `peak_bytes` is the largest value."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="peak memory", daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def _sample(self) -> None:
        resident = 0
        while True:
            now = _sum(lambda process: process.memory_info().rss)
            if now > GROWTH * resident:
                resident = now
                self.peak_bytes = max(self.peak_bytes, family_bytes())
            if self._end.wait(EVERY_SECONDS):
                return
