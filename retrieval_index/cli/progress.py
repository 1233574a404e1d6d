"""How far a build has come: a live line on a terminal, a line every so many documents elsewhere. Both go to stderr."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

EVERY = 50_000
"""Documents between two lines where there is no terminal."""

WINDOW_S = 30.0
"""Seconds that the rate and the time left are taken from: the part of a corpus that is only read again, after an
interrupted build, goes by much faster than the rest."""

_TERMINAL_EVERY = 500


class Pace:
    """Documents a second and the seconds left, from the last `WINDOW_S` seconds. Times are given, so that tests need
    not wait."""

    def __init__(self, now: float) -> None:
        self._started = now
        self._seen: deque[tuple[float, int, float]] = deque([(now, 0, 0.0)])

    def line(self, count: int, share: float | None, now: float) -> str:
        """What there is to say about `count` documents, which are `share` (0 to 1) of the corpus, if that is known."""
        while len(self._seen) > 1 and now - self._seen[1][0] > WINDOW_S:
            self._seen.popleft()
        then, earlier_count, earlier_share = self._seen[0]
        self._seen.append((now, count, share or 0.0))
        seconds = max(now - then, 1e-6)
        parts = [f"{count:,} documents", f"{(count - earlier_count) / seconds:,.0f} a second"]
        if share is not None:
            parts.append(f"{share:.0%}")
            if share > earlier_share:
                parts.append(f"{_clock((1 - share) * seconds / (share - earlier_share))} left")
        return ", ".join(parts) + f", {_clock(now - self._started)} gone"


def _clock(seconds: float) -> str:
    """ "4:05" or "1:02:03"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def build_progress(console: Console, share: Callable[[], float] | None = None) -> Iterator[Callable[[int], None]]:
    """A function to be called with the number of documents so far, for `build_index(progress=...)`.

    `share` says how much of the corpus has been read, from 0 to 1, where its size is known.
    """
    pace = Pace(time.monotonic())

    def line(count: int) -> str:
        return pace.line(count, share() if share is not None else None, time.monotonic())

    if not console.is_terminal:
        yield lambda count: None if count % EVERY else console.print(line(count), highlight=False)
        return
    with Live(console=console, transient=True, refresh_per_second=4) as live:
        yield lambda count: None if count % _TERMINAL_EVERY else live.update(Text(f"indexing: {line(count)}"))
