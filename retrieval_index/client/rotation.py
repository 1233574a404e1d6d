"""Which of several places is asked next: in turn; one that has failed rests for a while."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from retrieval_index.client.places import Place

FIRST_REST_S = 1.0
LONGEST_REST_S = 30.0
"""A place rests for FIRST_REST_S after a failure, twice as long after each further one in a row, at most so long."""


@dataclass(slots=True, eq=False)
class _Known:
    place: Place
    failures: int = 0
    failed_at: float = -math.inf  # when the last one of them was noted
    rests_until: float = 0.0


class Rotation:
    """The places of one retriever, all with the same index."""

    def __init__(self, places: Sequence[Place]) -> None:
        """Begin with `places`, none of which rests."""
        self._known = [_Known(place) for place in places]
        self._turn = 0

    @property
    def places(self) -> list[Place]:
        """All of them, resting or not."""
        return [known.place for known in self._known]

    def pick(self, probe_s: float) -> Place:
        """Return the next place that does not rest; if all do, the one whose rest ends first.

        A place whose rest is over is asked by one caller, who learns within `probe_s` seconds whether it is back;
        meanwhile the others ask other places.
        """
        now = time.monotonic()
        ready = [known for known in self._in_turn() if known.rests_until <= now]
        chosen = ready[0] if ready else min(self._known, key=lambda known: known.rests_until)
        self._turn = self._known.index(chosen) + 1
        if chosen.failures and len(self._known) > 1:
            chosen.rests_until = max(chosen.rests_until, now + probe_s)
        return chosen.place

    def has_ready(self) -> bool:
        """Tell whether some place does not rest."""
        now = time.monotonic()
        return any(known.rests_until <= now for known in self._known)

    def succeeded(self, place: Place) -> None:
        """Note that a place has answered, and works."""
        known = self._of(place)
        known.failures, known.rests_until = 0, 0.0

    def failed(self, place: Place, retry_after_s: float, began: float) -> None:
        """Let a place rest that has failed an attempt begun at `began`, at least for as long as it asked for.

        Attempts that were under way when it failed the last time fail for the same reason and do not count: a short
        outage met by hundreds of callers is one failure.
        """
        known, now = self._of(place), time.monotonic()
        if began <= known.failed_at:
            known.rests_until = max(known.rests_until, now + retry_after_s)
            return
        rest = min(LONGEST_REST_S, FIRST_REST_S * 2 ** min(known.failures, 10))
        known.failures, known.failed_at = known.failures + 1, now
        known.rests_until = now + max(rest, retry_after_s)

    def _of(self, place: Place) -> _Known:
        return next(known for known in self._known if known.place is place)

    def _in_turn(self) -> list[_Known]:
        start = self._turn % len(self._known)
        return self._known[start:] + self._known[:start]
