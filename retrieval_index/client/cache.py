"""The queries answered last, so that the completions of a group do not ask the same thing again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from retrieval_index.documents import Hit


class QueryCache:
    """Hits by query and number of documents; the one unused for longest goes first. For one event loop.

    `size` is in queries; three passages of a kilobyte take about 4 kB, so 4,096 queries about 16 MB. 0 keeps none.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[tuple[str, int], list[Hit]] = OrderedDict()

    def get(self, query: str, top_k: int) -> list[Hit] | None:
        """The hits, or None where they are not kept."""
        found = self._kept.get((query, top_k))
        if found is None:
            return None
        self._kept.move_to_end((query, top_k))
        return list(found)

    def put(self, query: str, top_k: int, hits: Sequence[Hit]) -> None:
        """Keep the hits of a query."""
        if not self._size:
            return
        self._kept[query, top_k] = list(hits)
        self._kept.move_to_end((query, top_k))
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)
