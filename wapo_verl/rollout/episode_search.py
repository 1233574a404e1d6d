"""The searches of one episode, the same for every protocol: from queries to passages as the policy is shown them.

A loop makes one `EpisodeSearch` an episode, asks it, writes what it got between two turns in its own way, and notes in
the episode's record what was shown. A search that fails after its retries raises: it never becomes an empty result.
Left out: how a query is written and how passages are wrapped (`wapo_verl.environments.protocol`), and when an episode
ends (the loops).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Self

from retrieval_index import Hit
from retrieval_index.client import Attempts, Retriever, connect
from retrieval_index.passages import cut_to_budget
from wapo_verl.environments.protocol import neutralise, render_passage
from wapo_verl.rollout.chat import TurnBoundary
from wapo_verl.rollout.settings import SearchAgentConfig


@cache
def retriever_for(address: str, **options: Any) -> Retriever:
    """The process's one retriever for an address: veRL makes a loop object per episode, an index is opened once."""
    return connect(address, **options)


@dataclass(frozen=True, slots=True)
class Found:
    """What one query found.

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
        """The search of an episode whose row is of that split; raises ValueError for a split without an index."""
        address = settings.address_for(split)
        return cls(retriever_for(address, **settings.client_options(address)), settings, boundary)

    async def ask(self, queries: Sequence[str]) -> list[Found]:
        """What each query finds.

        Raises:
            RetrievalError: when the search failed after its retries.
        """
        answers = await self.retriever.search(list(queries), self.settings.top_k, self.attempts)
        hits = [hit for found in answers for hit in found]
        if all(self._surely_fits(hit.document.text) for hit in hits):
            shown = iter([self._shown(hit) for hit in hits])
        else:  # cutting long documents takes its time
            shown = iter(await asyncio.to_thread(lambda: [self._shown(hit) for hit in hits]))
        return [
            Found(query, tuple(hit.document.id for hit in found), tuple(next(shown) for _ in found))
            for query, found in zip(queries, answers, strict=True)
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
