"""Exact BM25 over precomputed scores: bm25s computes every word's score in every document when the index is built.

Title and text are one field, stemmed by Snowball's English stemmer; a score is Lucene's formula
ln(1 + (N - n + 0.5) / (n + 0.5)) * f / (f + k1 * (1 - b + b * length / mean length)) summed over the query's words, in
32-bit floats. What is stored is memory-mapped: several processes share it, and opening reads next to nothing.

The library builds the table; the sum over a query's words and the choice of the best are done here, in one compiled
function. bm25s's own `retrieve` returns documents for a query without a known word, raises for more documents than
there are, leaves the order of ties to chance, holds the interpreter's lock in part and compiles for seconds in every
process; ours is compiled once and kept beside this file. Left out: building with bounded memory (see
docs/retrieval_backends.md), BM25's variants.
"""

from __future__ import annotations

import itertools
import re
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import Stemmer
from bm25s import BM25
from numba import njit

from retrieval_index.backends.engine import Backend, Parameter, Searcher, distinct
from retrieval_index.backends.english import MAX_QUERY_WORDS, STOPWORDS, clean_query
from retrieval_index.backends.stored import StoredDocuments, map_array, save_array, store
from retrieval_index.documents import Document, Hit
from retrieval_index.errors import IndexStateError
from retrieval_index.manifest import fsync_directory

LONGEST_WORD = 40
"""Bytes; longer words (addresses, noise) are left out of the index and of queries."""

_WORD = re.compile(r"[^\W_]+")
_LAST = 2**31 - 1
_VOCABULARY, _SCORES, _PLACES, _STARTS = "vocabulary.npy", "scores.npy", "places.npy", "starts.npy"


class _Stemming(threading.local):
    """A stemmer a thread, since one must not be used by two at once."""

    def __init__(self) -> None:
        self.stem: Callable[[list[str]], list[str]] = Stemmer.Stemmer("english").stemWords


_stemming = _Stemming()


def _stems(words: list[str]) -> list[str]:
    """The words stemmed, without very long ones."""
    short = [word for word in words if len(word) <= LONGEST_WORD]
    return [stem for stem in _stemming.stem(short) if len(stem.encode()) <= LONGEST_WORD]


def _content_words(query: str) -> list[str]:
    """The first distinct content words of a query, stemmed."""
    words = _WORD.findall(query.lower())
    return distinct(_stems([word for word in words if word not in STOPWORDS]), MAX_QUERY_WORDS)


def _best(
    scores: np.ndarray, places: np.ndarray, starts: np.ndarray, words: np.ndarray, documents: int, top_k: int
) -> np.ndarray:
    """int64[top_k], in no order: a key for each of the best documents that have one of `words`, else 0.

    The upper half of a key is the score's bits, which rise with a positive float, the lower half falls with the
    position; so no two keys are equal, and of equal scores the first document's is the highest.
    """
    totals = np.zeros(documents, np.float32)
    for word in words:
        for entry in range(starts[word], starts[word + 1]):
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
        self._documents = StoredDocuments(directory)
        self._vocabulary = map_array(directory / _VOCABULARY)
        self._table = tuple(map_array(directory / name) for name in (_SCORES, _PLACES, _STARTS))

    def _known(self, query: str) -> np.ndarray:
        """The places in the vocabulary of the query's distinct content words, in the query's order."""
        words = [word.encode() for word in _content_words(clean_query(query))]
        wanted = np.array(words, self._vocabulary.dtype)
        if not len(wanted) or not len(self._vocabulary):
            return np.empty(0, np.int64)
        found = np.searchsorted(self._vocabulary, wanted).clip(max=len(self._vocabulary) - 1)
        return found[self._vocabulary[found] == wanted]

    def search(self, query: str, top_k: int) -> list[Hit]:
        """See `Searcher.search`."""
        words = self._known(query)
        if not len(words):
            return []
        count = len(self._documents)
        keys = np.sort(_best_compiled(*self._table, words, count, min(top_k, count)))[::-1]
        keys = keys[keys > 0]
        scores = (keys >> 32).astype(np.int32).view(np.float32).tolist()
        positions = (_LAST - (keys & _LAST)).tolist()
        return [Hit(self._documents[place], score) for place, score in zip(positions, scores, strict=True)]

    def get(self, document_id: str) -> Document | None:
        """See `Searcher.get`."""
        return self._documents.find(document_id)


class _Numbers(dict[str, int]):
    """The number of a word as it stands in a text; a word is stemmed when it comes for the first time."""

    def __init__(self) -> None:
        self.stems: dict[str, int] = {}

    def __missing__(self, word: str) -> int:
        stems = _stems([word])
        self[word] = number = self.stems.setdefault(stems[0], len(self.stems)) if stems else -1
        return number


class _Corpus:
    """The words of all documents as numbers, 4 bytes each, in the form the library takes: one sequence a document."""

    def __init__(self) -> None:
        self._numbers = _Numbers()
        self._all = array("i")
        self._ends = array("q", [0])

    @property
    def words(self) -> list[str]:
        """The stemmed words; the place of one is its number."""
        return list(self._numbers.stems)

    def add(self, text: str) -> None:
        numbers = self._numbers
        self._all.extend([numbers[word] for word in _WORD.findall(text.lower()) if numbers[word] >= 0])
        self._ends.append(len(self._all))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[list[int]]:
        for start, end in itertools.pairwise(self._ends):
            yield self._all[start:end].tolist()


class Bm25sBackend(Backend):
    """`k1` and `b` are BM25's parameters; the defaults are Anserini's."""

    name = "bm25s"
    distribution = "bm25s"
    parameters: Mapping[str, Parameter] = {"k1": Parameter(0.9, 0, 100), "b": Parameter(0.4, 0, 1)}

    def build(self, documents: Iterable[Document], directory: Path, parameters: Mapping[str, float]) -> None:
        """See `Backend.build`. Words are held in memory while building, texts are not."""
        corpus = _Corpus()
        for document in store(documents, directory):
            corpus.add(f"{document.title} {document.text}")
        words = corpus.words
        engine = BM25(k1=parameters["k1"], b=parameters["b"], method="lucene")
        with np.errstate(invalid="ignore"):  # the mean length is 0 in a corpus without words
            table = engine.build_index_from_ids(range(len(words)), corpus, show_progress=False)
        _save(directory, words, table)

    def open(self, directory: Path, parameters: Mapping[str, float]) -> Bm25sSearcher:
        """See `Backend.open`."""
        try:
            return Bm25sSearcher(directory)
        except (OSError, ValueError) as error:
            raise IndexStateError(f"{directory} cannot be read ({error}): build the index again") from error


def _save(directory: Path, words: list[str], table: Mapping[str, np.ndarray]) -> None:
    """Write the table with its words in alphabetical order, so that they are found by bisection."""
    spelled = np.array([word.encode() for word in words], f"S{LONGEST_WORD}")
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
