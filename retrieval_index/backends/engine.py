"""What a back end is: a builder that streams documents into a folder, and a searcher over such a folder."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from retrieval_index.backends.analysis import ANALYSER
from retrieval_index.documents import Document, Hit


class Searcher(ABC):
    """An open index. Several threads may use it at once."""

    @abstractmethod
    def search(self, query: str, top_k: int) -> list[Hit]:
        """Return the best `top_k` (>= 1) documents, scores falling, equal scores in the order of insertion.

        Documents that share no term with the query are not returned.

        Raises:
            RetrievalError: If the engine fails.
        """

    def search_many(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        """Return `search` of each query, in order. An engine that answers batches faster overrides this."""
        return [self.search(query, top_k) for query in queries]

    @abstractmethod
    def get(self, document_id: str) -> Document | None:
        """Return the document with this id, or None."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number that a user may set when an index is built: its default and its range, ends included."""

    default: float
    low: float
    high: float

    def checked(self, value: object) -> float:
        """Return `value` as a number. Raises ValueError, whose text says what it must be."""
        if not isinstance(value, int | float) or isinstance(value, bool) or not self.low <= value <= self.high:
            raise ValueError(f"a number from {self.low:g} to {self.high:g}")
        return float(value)


@dataclass(frozen=True, slots=True)
class TextParameter:
    """A text that a user may set when an index is built: its default, the pattern it must match, and that in words."""

    default: str
    pattern: str
    meaning: str

    def checked(self, value: object) -> str:
        """Return `value` itself. Raises ValueError, whose text says what it must be."""
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            raise ValueError(self.meaning)
        return value


class Backend(ABC):
    """One engine.

    Attributes:
        name: The back end's name, as `--backend` takes it.
        distribution: The package whose version the index depends on.
        parameters: All parameters it takes; others are refused.
    """

    name: str
    distribution: str
    parameters: Mapping[str, Parameter | TextParameter]

    @property
    def engine_version(self) -> str:
        """The installed version of the engine's package."""
        return version(self.distribution)

    def analyser(self, parameters: Mapping[str, Any]) -> str:
        """Return name and version of the analyser that an index with these parameters is built and searched with."""
        return ANALYSER

    def resolve(self, given: Mapping[str, Any]) -> dict[str, float | str]:
        """Return the defaults overlaid with `given`.

        Raises:
            ValueError: For an unknown name or a value out of range.
        """
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
        """Return how many documents of an interrupted build in `directory` are safe on the disk.

        The next build resumes after them. 0 means that it starts again in an empty folder, as it always does for an
        engine that cannot resume.
        """
        return 0

    @abstractmethod
    def build(self, documents: Iterable[Document], directory: Path, parameters: Mapping[str, Any]) -> None:
        """Index `documents`, whose ids are unique, into `directory`; on return everything is on the disk.

        The folder is empty, or holds what an interrupted build of the same documents with the same parameters left;
        `documents` then begin after the first `indexed(directory)`.
        """

    @abstractmethod
    def open(self, directory: Path, parameters: Mapping[str, Any]) -> Searcher:
        """Open what `build` wrote.

        Raises:
            RetrievalError: If the engine cannot read it.
        """


def may_be_id(text: str) -> bool:
    """Tell whether a document could have this id: none has a lone surrogate, which engines fail on."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
