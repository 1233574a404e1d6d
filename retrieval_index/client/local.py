"""An index in this process, searched in threads, so that the event loop is never blocked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from retrieval_index.client.places import AttemptError
from retrieval_index.documents import Hit
from retrieval_index.errors import IndexStateError, RetrievalError
from retrieval_index.index import Index, open_index


class LocalIndex:
    """The index in a folder, opened at the first search; refused if its corpus hash does not begin as wanted."""

    def __init__(self, path: Path, threads: int, corpus_hash: str = "") -> None:
        """Search the index at `path` with `threads` threads; see `connect` for `corpus_hash`."""
        self.name = str(path)
        self._corpus_hash = corpus_hash
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="retrieval")
        self._index: Index | None = None
        self._opening = threading.Lock()

    async def search(self, queries: Sequence[str], top_k: int, timeout_s: float) -> list[list[Hit]]:
        """See `Place.search`; waiting for a thread counts towards `timeout_s`."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, self._search, list(queries), top_k)
        try:
            return await asyncio.wait_for(future, timeout_s)
        except TimeoutError:
            raise AttemptError(f"no answer within {timeout_s:.3g} s", timed_out=True) from None
        except IndexStateError as error:
            raise AttemptError(str(error), lasting=True) from error  # the same index will be no better a moment later
        except RetrievalError as error:
            raise AttemptError(str(error)) from error

    def _search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        if self._index is None:
            with self._opening:
                if self._index is None:
                    self._index = self._open()
        return self._index.search(queries, top_k)

    def _open(self) -> Index:
        index = open_index(self.name)
        own = index.manifest.corpus_hash
        if not own.startswith(self._corpus_hash):
            raise IndexStateError(
                f"the index at {self.name} has the corpus hash {own[:16]}, not {self._corpus_hash}: correct one of them"
            )
        return index

    async def close(self) -> None:
        """Release the threads; running searches end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)
