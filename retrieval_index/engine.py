"""What a back end is: a builder that streams documents into a directory, and a searcher over such a directory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number a user may set when an index is built: its default and the range it must lie in, ends included."""

    default: float
    low: float
    high: float


class Backend(ABC):
    """One engine. `parameters` are all it takes; others are refused."""

    name: str
    distribution: str
    parameters: Mapping[str, Parameter]

    @property
    def engine_version(self) -> str:
        """The installed version of the engine's distribution."""
        return version(self.distribution)

    def resolve(self, given: Mapping[str, Any]) -> dict[str, float]:
        """The defaults overlaid with `given`. Raises ValueError for an unknown name or a value out of its range."""
        for key, value in given.items():
            known = self.parameters.get(key)
            if known is None:
                raise ValueError(
                    f"the back end {self.name!r} has no parameter {key!r}: it has {', '.join(self.parameters)}"
                )
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not is_number or not known.low <= value <= known.high:
                raise ValueError(
                    f"the parameter {key!r} of the back end {self.name!r} must be a number from {known.low:g} to "
                    f"{known.high:g}, not {value!r}"
                )
        return {key: float(given.get(key, known.default)) for key, known in self.parameters.items()}

    @abstractmethod
    def build(self, documents: Iterable[Document], directory: Path, parameters: Mapping[str, float]) -> None:
        """Index `documents`, whose ids are unique, into the empty `directory`; on return all is on the disk."""

    @abstractmethod
    def open(self, directory: Path, parameters: Mapping[str, float]) -> Searcher:
        """Open what `build` wrote. Raises RetrievalError when the engine cannot read it."""


def distinct(words: Sequence[str], limit: int) -> list[str]:
    """The first `limit` distinct words, in order."""
    found: dict[str, None] = {}
    for word in words:
        found[word] = None
        if len(found) == limit:
            break
    return list(found)
