"""Measure the memory of this process and all processes that it started.

Shared pages count in each process that maps them, so the sum is an upper bound.
"""

from __future__ import annotations

import threading
from types import TracebackType

import psutil

EVERY_SECONDS = 1.0


def family_bytes() -> int:
    """Return the sum of the resident sizes of this process and its descendants, in bytes."""
    parent = psutil.Process()
    total = 0
    for process in [parent, *parent.children(recursive=True)]:
        try:
            total += process.memory_info().rss
        except psutil.Error:  # it has ended since it was listed
            continue
    return total


class PeakMemory:
    """A context that calls `family_bytes` once a second in a thread; `peak_bytes` is the largest value."""

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
        while True:
            self.peak_bytes = max(self.peak_bytes, family_bytes())
            if self._end.wait(EVERY_SECONDS):
                return
