"""BM25 in 64-bit floats over every document, to compare the back ends' rankings with: exact, and slow.

ln(1 + (N - n + 0.5) / (n + 0.5)) * f / (f + k1 * (1 - b + b * length / mean length)), summed over a query's distinct
terms (Lucene's form of Robertson and Zaragoza, 2009). The terms are those of the back ends' analyser, so that only
scoring differs: rounding, and Lucene's one byte for a length.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from retrieval_index import Document, Index
from retrieval_index.backends.analysis import document_terms, query_terms

EXACT = ("bm25s", "lucene")
"""The back ends whose scores are exact BM25's except for rounding."""

DEPTH = 10


class ExactBM25:
    """Postings of all documents in memory."""

    def __init__(self, documents: Iterable[Document], k1: float, b: float) -> None:
        places: dict[str, array[int]] = defaultdict(lambda: array("i"))
        counts: dict[str, array[int]] = defaultdict(lambda: array("i"))
        lengths = array("i")
        self.ids: list[str] = []
        for number, document in enumerate(documents):
            terms = document_terms(document.title, document.text)
            lengths.append(len(terms))
            self.ids.append(document.id)
            for term, count in Counter(terms).items():
                places[term].append(number)
                counts[term].append(count)
        self._places, self._counts, self._k1 = places, counts, k1
        share = np.array(lengths, dtype=np.float64) / (sum(lengths) / len(lengths))
        self._length_part = k1 * (1 - b + b * share)

    def best(self, query: str, depth: int) -> set[str]:
        """Return the ids of the best `depth` documents."""
        scores = np.zeros(len(self.ids))
        for term in query_terms(query).in_one_field():
            if term in self._places:
                here = np.frombuffer(self._places[term], dtype=np.int32)
                counts = np.frombuffer(self._counts[term], dtype=np.int32).astype(np.float64)
                weight = np.log(1 + (len(self.ids) - len(here) + 0.5) / (len(here) + 0.5))
                scores[here] += weight * counts / (counts + self._length_part[here])
        order = np.argsort(-scores, kind="stable")[:depth]
        return {self.ids[place] for place in order}


def agreement(index: Index, exact: ExactBM25, queries: Sequence[str]) -> float:
    """Return the mean share of the exact top ten that the index has in its own."""
    shares = []
    for query, hits in zip(queries, index.search(queries, DEPTH), strict=True):
        shares.append(len(exact.best(query, DEPTH) & {hit.document.id for hit in hits}) / DEPTH)
    return float(np.mean(shares))
