"""What is counted about searches, by call, by episode and by retriever."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields


@dataclass(slots=True)
class Attempts:
    """How searches went; a caller passes one and reads what it has grown by.

    Attributes:
        made, failed: attempts at asking the index, and those that failed (each may have been made good by a later one).
        calls, queries: searches asked for, and the queries in them.
        cache_hits: queries answered from the cache.
        retries: attempts after a failed one.
        timeouts: attempts that met their time limit.
        failovers: attempts at another server than the failed one before.
        failures: calls for which no attempt succeeded; the caller got an error.
        seconds: of each call that asked the index and succeeded, retries and their pauses included.
    """

    made: int = 0
    failed: int = 0
    calls: int = 0
    queries: int = 0
    cache_hits: int = 0
    retries: int = 0
    timeouts: int = 0
    failovers: int = 0
    failures: int = 0
    seconds: list[float] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Everything but the seconds."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "seconds"}

    def add(self, other: Attempts) -> None:
        """Count in what `other` has."""
        for name, count in other.counts().items():
            setattr(self, name, getattr(self, name) + count)
        self.seconds.extend(other.seconds)


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value at `share` (0 to 1) of rising values, 0.0 where there are none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
