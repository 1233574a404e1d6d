"""What a back end is: a builder that streams documents into a directory, and a searcher over such a directory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from retrieval_index.documents import Document, Hit


class Searcher(ABC):
    """An open index. It may be used from several threads at once."""

    @abstractmethod
    def search(self, query: str, top_k: int) -> list[Hit]:
        """The best `top_k` (>= 1) documents, scores falling, equal scores in the order of insertion.

        Documents that share no word with the query are not returned. Raises RetrievalError if the engine fails.
        """

    @abstractmethod
    def get(self, document_id: str) -> Document | None:
        """The document with this id, or None."""


class Backend(ABC):
    """One engine. `defaults` holds its build parameters and their default values; others are refused."""

    name: str
    distribution: str
    defaults: Mapping[str, Any] = {}

    @property
    def engine_version(self) -> str:
        """The installed version of the engine's distribution."""
        return version(self.distribution)

    def resolve(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """`defaults` overlaid with `parameters`. Raises ValueError for an unknown name or a value of another type."""
        for key, value in parameters.items():
            if key not in self.defaults:
                known = ", ".join(self.defaults) or "none"
                raise ValueError(f"the back end {self.name!r} has no parameter {key!r}: it knows {known}")
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError(f"the parameter {key!r} of the back end {self.name!r} must be a number, not {value!r}")
        return {**self.defaults, **parameters}

    @abstractmethod
    def build(self, documents: Iterable[Document], directory: Path, parameters: Mapping[str, Any]) -> None:
        """Index `documents`, whose ids are unique, into the empty `directory`; on return all is on the disk."""

    @abstractmethod
    def open(self, directory: Path, parameters: Mapping[str, Any]) -> Searcher:
        """Open what `build` wrote. Raises RetrievalError when the engine cannot read it."""


def distinct(words: Sequence[str], limit: int) -> list[str]:
    """The first `limit` distinct words, in order."""
    found: dict[str, None] = {}
    for word in words:
        found[word] = None
        if len(found) == limit:
            break
    return list(found)
