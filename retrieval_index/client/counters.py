"""What is counted about searches: by call and by episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields


@dataclass(slots=True)
class Attempts:
    """How searches went. A caller passes one, and the search adds to it.

    Attributes:
        made: Attempts at asking the index.
        failed: Attempts that failed; a later one of the same call may have succeeded.
        calls: Searches asked for.
        queries: Queries in these searches.
        cache_hits: Queries answered from the cache.
        retries: Attempts after a failed one.
        timeouts: Attempts that reached their time limit.
        failovers: Attempts at another server than the one that failed before.
        failures: Calls for which no attempt succeeded; the caller got an error.
        seconds: For each call that asked the index and succeeded, its duration with retries and pauses.
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
        """Return everything except the seconds."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "seconds"}

    def add(self, other: Attempts) -> None:
        """Add what `other` has."""
        for name, count in other.counts().items():
            setattr(self, name, getattr(self, name) + count)
        self.seconds.extend(other.seconds)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value at `share` (0 to 1) of rising values, 0.0 if there are none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
