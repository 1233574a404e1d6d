"""Back ends for tests, skipped with a reason where an engine is not installed."""

from __future__ import annotations

import pytest

from retrieval_index import RetrievalError
from retrieval_index.backends import backend
from retrieval_index.backends.engine import Backend


def engine_or_skip(name: str) -> Backend:
    """The back end called `name`; skips the test when Lucene's optional packages, or a Java for it, are missing."""
    if name != "lucene":
        return backend(name)
    try:
        engine = backend(name)
        from retrieval_index.backends.java import find_java

        find_java()
    except (ValueError, RetrievalError) as missing:
        pytest.skip(str(missing), allow_module_level=True)
    return engine
