"""The errors of this package: each message is one sentence that names the thing at fault and the mend."""

from __future__ import annotations


class RetrievalError(RuntimeError):
    """An index that could not be built, or a search that could not be answered; never turned into an empty result."""


class IndexStateError(RetrievalError):
    """An index that is missing, half-built, damaged or of another version: asking again cannot help."""


class CorpusError(ValueError):
    """A document or corpus row that cannot be indexed, with the file, row and field named where they are known."""
