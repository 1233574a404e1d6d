"""What a retriever asks: a place that answers one attempt at a search, and how an attempt fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from retrieval_index.documents import Hit
from retrieval_index.errors import RetrievalError


class AttemptError(RetrievalError):
    """One attempt that failed. Another may succeed, unless the failure is `lasting`.

    Attributes:
        timed_out: The attempt reached its time limit.
        retry_after_s: Seconds before which the place does not want to be asked again.
        lasting: Asking again cannot help.
    """

    def __init__(
        self, sentence: str, *, timed_out: bool = False, retry_after_s: float = 0.0, lasting: bool = False
    ) -> None:
        """Say in one sentence what failed; see the class for the rest."""
        super().__init__(sentence)
        self.timed_out, self.retry_after_s, self.lasting = timed_out, retry_after_s, lasting


class Place(Protocol):
    """An index that can be asked."""

    name: str

    async def search(self, queries: Sequence[str], top_k: int, timeout_s: float) -> list[list[Hit]]:
        """Make one attempt and return a list of hits for each query. Raises AttemptError."""

    async def close(self) -> None:
        """Release what the place holds; it is not asked any more."""
