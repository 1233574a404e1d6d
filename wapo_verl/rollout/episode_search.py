"""The searches of one episode, the same for every protocol: from queries to passages as the policy is shown them.

A loop makes one `EpisodeSearch` an episode and asks it. A search that fails after its retries raises: it never becomes
an empty result. How a query is written and how passages are wrapped is in `wapo_verl.environments.protocol`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Self

from retrieval_index import Hit, RetrievalError
from retrieval_index.client import Attempts, Retriever, connect
from retrieval_index.passages import cut_to_budget
from wapo_verl.environments.protocol import neutralise, render_passage
from wapo_verl.rollout.chat import TurnBoundary
from wapo_verl.rollout.settings import SearchAgentConfig


@cache
def retriever_for(address: str, **options: Any) -> Retriever:
    """Return the process's one retriever for an address: veRL makes a loop per episode, an index is opened once."""
    return connect(address, **options)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What one query brought.

    Attributes:
        query: as the policy wrote it.
        document_ids: of the documents, best first.
        passages: the same documents as the policy is shown them.
    """

    query: str
    document_ids: tuple[str, ...]
    passages: tuple[str, ...]


@dataclass(slots=True)
class EpisodeSearch:
    """One episode's way to the retriever.

    Attributes:
        retriever: of the row's split.
        settings: `top_k` and `passage_tokens` are read.
        boundary: counts tokens, and knows the special tokens that no document may contain.
        attempts: of this episode, counted while it searches.
    """

    retriever: Retriever
    settings: SearchAgentConfig
    boundary: TurnBoundary
    attempts: Attempts = field(default_factory=Attempts)

    @classmethod
    def for_split(cls, split: str | None, settings: SearchAgentConfig, boundary: TurnBoundary) -> Self:
        """Return the search for a row of that split; raises ValueError for a split without an index."""
        address = settings.address_for(split)
        return cls(retriever_for(address, **settings.client_options(address)), settings, boundary)

    async def ask(self, queries: Sequence[str]) -> list[SearchResult]:
        """Search for each query.

        Raises:
            RetrievalError: when the search failed after its retries; the message has the queries.
        """
        try:
            answers = await self.retriever.search(list(queries), self.settings.top_k, self.attempts)
        except RetrievalError as error:
            raise RetrievalError(f"{error} (queries: {', '.join(f'{query:.200}' for query in queries)})") from error
        every = [hit for hits in answers for hit in hits]
        if all(self._surely_fits(hit.document.text) for hit in every):
            shown = iter([self._shown(hit) for hit in every])
        else:  # cutting long documents takes its time
            shown = iter(await asyncio.to_thread(lambda: [self._shown(hit) for hit in every]))
        return [
            SearchResult(query, tuple(hit.document.id for hit in hits), tuple(next(shown) for _ in hits))
            for query, hits in zip(queries, answers, strict=True)
        ]

    def _shown(self, hit: Hit) -> str:
        markers = self.boundary.markers()
        title, text = (neutralise(part, markers) for part in (hit.document.title, hit.document.text))
        return render_passage(title, self._cut(text))

    def _surely_fits(self, text: str) -> bool:
        """Tell from its length alone that a text keeps the budget: a token stands for a byte or more.

        One token is kept back for tokenizers that put a space before the first word.
        """
        return len(text.encode()) < self.settings.passage_tokens

    def _cut(self, text: str) -> str:
        if self._surely_fits(text):
            return text
        return cut_to_budget(text, self.settings.passage_tokens, self.boundary.count)
