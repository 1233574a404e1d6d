"""The errors of this package. Each message is one sentence that names what is wrong and how to fix it."""

from __future__ import annotations


class RetrievalError(RuntimeError):
    """An index could not be built, or a search could not be answered. A failed search is never an empty result."""


class IndexStateError(RetrievalError):
    """An index is missing, half-built, damaged or of another version: trying again cannot help."""


class CorpusError(ValueError):
    """A document or a corpus file cannot be indexed. The message names file, row and field where they are known."""
