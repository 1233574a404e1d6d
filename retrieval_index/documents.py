"""What goes into an index and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Document:
    """One text that can be retrieved. `id` is unique in its corpus and never empty; `title` may be empty."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that matches a query. `score` is a BM25 score; compare it only with scores of the same query."""

    document: Document
    score: float
