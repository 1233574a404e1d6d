"""Exact BM25 over precomputed scores: bm25s computes every term's score in every document when the index is built.

Title and text are one field. A score is Lucene's formula ln(1 + (N - n + 0.5) / (n + 0.5)) * f / (f + k1 * (1 - b + b *
length / mean length)), summed over the query's terms, in 32-bit floats. What is stored is memory-mapped: several
processes share it, and opening reads next to nothing.

The library builds the table. Adding up a query's scores and choosing the best is done here, in one compiled function:
bm25s's own `retrieve` returns documents for a query without a known word, raises for more documents than there are,
leaves the order of ties to chance, holds the interpreter's lock in part, and compiles for seconds in every process.
Ours is compiled once and kept beside this file. A build holds all terms in memory (see docs/retrieval_backends.md).
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from bm25s import BM25
from numba import njit

from retrieval_index.backends.analysis import document_terms, query_terms
from retrieval_index.backends.engine import Backend, Parameter, Searcher
from retrieval_index.backends.stored import StoredDocuments, map_array, save_array, store
from retrieval_index.documents import Document, Hit
from retrieval_index.errors import IndexStateError
from retrieval_index.manifest import fsync_directory

_LAST = 2**31 - 1
_VOCABULARY, _SCORES, _PLACES, _STARTS = "vocabulary.npy", "scores.npy", "places.npy", "starts.npy"


def _best(
    scores: np.ndarray, places: np.ndarray, starts: np.ndarray, terms: np.ndarray, documents: int, top_k: int
) -> np.ndarray:
    """Return int64[top_k], in no order: a key for each of the best documents that have one of `terms`, else 0.

    The upper half of a key is the score's bits, which rise with a positive float; the lower half falls with the
    position. So no two keys are equal, and of equal scores the first document's key is the highest.
    """
    totals = np.zeros(documents, np.float32)
    for term in terms:
        for entry in range(starts[term], starts[term + 1]):
            totals[places[entry]] += scores[entry]
    bits = totals.view(np.int32)
    heap = np.zeros(top_k, np.int64)  # the lowest key first
    for position in range(documents):
        key = (np.int64(bits[position]) << 32) + (_LAST - position)
        if bits[position] > 0 and key > heap[0]:
            place, child = 0, 1
            while child < top_k:
                if child + 1 < top_k and heap[child + 1] < heap[child]:
                    child += 1
                if heap[child] >= key:
                    break
                heap[place] = heap[child]
                place, child = child, 2 * child + 1
            heap[place] = key
    return heap


try:
    _best_compiled = njit(nogil=True, cache=True)(_best)
except RuntimeError:  # no folder to keep the compiled code in
    _best_compiled = njit(nogil=True)(_best)


class Bm25sSearcher(Searcher):
    """An open index; all arrays are memory-mapped."""

    def __init__(self, directory: Path) -> None:
        """Open the index in `directory`. Raises OSError or ValueError if it cannot be read."""
        self._documents = StoredDocuments(directory)
        self._vocabulary = map_array(directory / _VOCABULARY)
        self._table = tuple(map_array(directory / name) for name in (_SCORES, _PLACES, _STARTS))

    def _known(self, query: str) -> np.ndarray:
        """Return the positions in the vocabulary of the query's terms, in the query's order."""
        terms = [term.encode() for term in query_terms(query).in_one_field()]
        longest = self._vocabulary.dtype.itemsize
        wanted = np.array([term for term in terms if len(term) <= longest], self._vocabulary.dtype)
        if not len(wanted) or not len(self._vocabulary):
            return np.empty(0, np.int64)
        places = np.searchsorted(self._vocabulary, wanted).clip(max=len(self._vocabulary) - 1)
        return places[self._vocabulary[places] == wanted]

    def search(self, query: str, top_k: int) -> list[Hit]:
        """See `Searcher.search`."""
        terms = self._known(query)
        if not len(terms):
            return []
        count = len(self._documents)
        keys = np.sort(_best_compiled(*self._table, terms, count, min(top_k, count)))[::-1]
        keys = keys[keys > 0]
        scores = (keys >> 32).astype(np.int32).view(np.float32).tolist()
        positions = (_LAST - (keys & _LAST)).tolist()
        return [Hit(self._documents[place], score) for place, score in zip(positions, scores, strict=True)]

    def get(self, document_id: str) -> Document | None:
        """See `Searcher.get`."""
        return self._documents.find(document_id)


class _Corpus:
    """The terms of all documents as numbers, 4 bytes each, in the form the library takes: one sequence a document."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._all = array("i")
        self._ends = array("q", [0])

    @property
    def terms(self) -> list[str]:
        """The distinct terms; a term's position is its number."""
        return list(self._numbers)

    def add(self, document: Document) -> None:
        numbers = self._numbers
        terms = document_terms(document.title, document.text)
        self._all.extend([numbers.setdefault(term, len(numbers)) for term in terms])
        self._ends.append(len(self._all))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[list[int]]:
        for start, end in itertools.pairwise(self._ends):
            yield self._all[start:end].tolist()


class Bm25sBackend(Backend):
    """The back end `bm25s`. `k1` and `b` are BM25's parameters; the defaults are Anserini's."""

    name = "bm25s"
    distribution = "bm25s"
    parameters: Mapping[str, Parameter] = {"k1": Parameter(0.9, 0, 100), "b": Parameter(0.4, 0, 1)}

    def build(self, documents: Iterable[Document], directory: Path, parameters: Mapping[str, float]) -> None:
        """See `Backend.build`. Terms are held in memory while building, texts are not."""
        corpus = _Corpus()
        for document in store(documents, directory):
            corpus.add(document)
        terms = corpus.terms
        engine = BM25(k1=parameters["k1"], b=parameters["b"], method="lucene")
        with np.errstate(invalid="ignore"):  # the mean length is 0 in a corpus without words
            table = engine.build_index_from_ids(range(len(terms)), corpus, show_progress=False)
        _save(directory, terms, table)

    def open(self, directory: Path, parameters: Mapping[str, float]) -> Bm25sSearcher:
        """See `Backend.open`."""
        try:
            return Bm25sSearcher(directory)
        except (OSError, ValueError) as error:
            raise IndexStateError(f"{directory} cannot be read ({error}): build the index again") from error


def _save(directory: Path, terms: list[str], table: Mapping[str, np.ndarray]) -> None:
    """Write the table with its terms in alphabetical order, so that they are found by bisection."""
    spelled = np.array([term.encode() for term in terms], None if terms else "S1")
    order = np.argsort(spelled, kind="stable")
    lengths = np.diff(table["indptr"])[order]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    entries = np.repeat(table["indptr"][:-1][order] - starts[:-1], lengths) + np.arange(starts[-1])
    save_array(directory / _VOCABULARY, spelled[order])
    save_array(directory / _STARTS, starts)
    save_array(directory / _SCORES, table["data"][entries])
    save_array(directory / _PLACES, table["indices"][entries])
    fsync_directory(directory)


BACKEND = Bm25sBackend()
