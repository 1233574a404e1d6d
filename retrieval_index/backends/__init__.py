"""The retrieval back ends: each is one module of this folder, which exposes it as `BACKEND`.

To add a back end, add its module and its name to `BACKENDS`. A module is imported only when its back end is asked for,
so a missing engine costs nothing to those who use another.
"""

from __future__ import annotations

import importlib

from retrieval_index.backends.engine import Backend

__all__ = ["BACKENDS", "backend", "backend_names"]

BACKENDS = ("bm25s", "lucene", "opensearch", "rank_bm25", "tantivy")


def backend_names() -> list[str]:
    """The names of all back ends, sorted; whether an engine is installed is not looked at."""
    return list(BACKENDS)


def backend(name: str) -> Backend:
    """The back end called `name`. Raises ValueError for an unknown name or an engine that is not installed."""
    if name not in backend_names():
        raise ValueError(f"there is no retrieval back end {name!r}: choose one of {', '.join(backend_names())}")
    try:
        module = importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the back end {name!r} needs the package {error.name!r}, which is not installed: "
            "docs/retrieval_backends.md says what to install for it"
        ) from error
    found: Backend = module.BACKEND
    return found
