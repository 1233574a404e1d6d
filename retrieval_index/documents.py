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


def title_and_text(contents: str) -> tuple[str, str]:
    """Split what Search-R1 and Pyserini call `contents`: a title in quotes on the first line, if there is one."""
    first, line_break, rest = contents.partition("\n")
    if line_break and len(first) > 1 and first[0] == first[-1] == '"':
        return first[1:-1], rest
    return "", contents
