"""What a back end is: a builder that streams documents into a directory, and a searcher over such a directory."""

from __future__ import annotations

import re
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

    def search_many(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        """`search` for each query, in order; an engine that answers a batch faster than one by one overrides this."""
        return [self.search(query, top_k) for query in queries]

    @abstractmethod
    def get(self, document_id: str) -> Document | None:
        """The document with this id, or None."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number a user may set when an index is built: its default and the range it must lie in, ends included."""

    default: float
    low: float
    high: float

    def checked(self, value: object) -> float:
        """`value` as a number. Raises ValueError, whose text says what it must be."""
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not self.low <= float(value) <= self.high:  # type: ignore[arg-type]
            raise ValueError(f"a number from {self.low:g} to {self.high:g}")
        return float(value)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class TextParameter:
    """A text a user may set when an index is built: its default, the pattern it must match, and that in words."""

    default: str
    pattern: str
    meaning: str

    def checked(self, value: object) -> str:
        """`value` itself. Raises ValueError, whose text says what it must be."""
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            raise ValueError(self.meaning)
        return value


class Backend(ABC):
    """One engine. `parameters` are all it takes; others are refused."""

    name: str
    distribution: str
    parameters: Mapping[str, Parameter | TextParameter]

    @property
    def engine_version(self) -> str:
        """The installed version of the engine's distribution."""
        return version(self.distribution)

    def resolve(self, given: Mapping[str, Any]) -> dict[str, float | str]:
        """The defaults overlaid with `given`. Raises ValueError for an unknown name or a value that may not be."""
        for key, value in given.items():
            if key not in self.parameters:
                raise ValueError(
                    f"the back end {self.name!r} has no parameter {key!r}: it has {', '.join(self.parameters)}"
                )
            try:
                self.parameters[key].checked(value)
            except ValueError as expected:
                raise ValueError(
                    f"the parameter {key!r} of the back end {self.name!r} must be {expected}, not {value!r}"
                ) from None
        return {key: known.checked(given.get(key, known.default)) for key, known in self.parameters.items()}

    def indexed(self, directory: Path) -> int:
        """How many documents of an interrupted build in `directory` are safe on the disk: the next build goes on there.

        0 means that it begins anew, in an empty directory, as it does for an engine that cannot go on.
        """
        return 0

    @abstractmethod
    def build(self, documents: Iterable[Document], directory: Path, parameters: Mapping[str, Any]) -> None:
        """Index `documents`, whose ids are unique, into `directory`; on return all is on the disk.

        The directory is empty, or holds what an interrupted build of the same documents with the same parameters left;
        the documents then begin after the first `indexed(directory)`.
        """

    @abstractmethod
    def open(self, directory: Path, parameters: Mapping[str, Any]) -> Searcher:
        """Open what `build` wrote. Raises RetrievalError when the engine cannot read it."""


def may_be_id(text: str) -> bool:
    """Whether a document could have this id: none has a lone surrogate, which engines fail on."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def distinct(words: Sequence[str], limit: int) -> list[str]:
    """The first `limit` distinct words, in order."""
    found: dict[str, None] = {}
    for word in words:
        found[word] = None
        if len(found) == limit:
            break
    return list(found)
