"""What goes into an index and what comes out of it. No behaviour lives here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Document:
    """One retrievable text. `id` is unique in its corpus and never empty; `title` may be empty."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A document found by a query; `score` is the back end's BM25 score, comparable within one query only."""

    document: Document
    score: float
