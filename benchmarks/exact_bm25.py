"""BM25 in 64-bit floats over every document, to hold the back ends' rankings to: ours, and slow.

ln(1 + (N - n + 0.5) / (n + 0.5)) * f / (f + k1 * (1 - b + b * length / mean length)), summed over a query's distinct
words (Lucene's form of Robertson and Zaragoza, 2009). A document's words are the back end's own, so that what differs
is scoring alone: rounding, and Lucene's one byte for a length.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from retrieval_index import Document, Index
from retrieval_index.backends.english import clean_query, without_stopwords

Words = Callable[[str], list[str]]
DEPTH = 10


class ExactBM25:
    """Postings of all documents in memory."""

    def __init__(self, documents: Iterable[Document], words: Words, k1: float, b: float) -> None:
        places: dict[str, array[int]] = defaultdict(lambda: array("i"))
        counts: dict[str, array[int]] = defaultdict(lambda: array("i"))
        lengths = array("i")
        self.ids: list[str] = []
        for number, document in enumerate(documents):
            found = words(f"{document.title}\n{document.text}")
            lengths.append(len(found))
            self.ids.append(document.id)
            for word, count in Counter(found).items():
                places[word].append(number)
                counts[word].append(count)
        self._places, self._counts, self._k1 = places, counts, k1
        share = np.array(lengths, dtype=np.float64) / (sum(lengths) / len(lengths))
        self._length_part = k1 * (1 - b + b * share)

    def best(self, words: Iterable[str], depth: int) -> set[str]:
        """The ids of the best documents."""
        scores = np.zeros(len(self.ids))
        for word in dict.fromkeys(words):
            if word in self._places:
                here = np.frombuffer(self._places[word], dtype=np.int32)
                counts = np.frombuffer(self._counts[word], dtype=np.int32).astype(np.float64)
                weight = np.log(1 + (len(self.ids) - len(here) + 0.5) / (len(here) + 0.5))
                scores[here] += weight * counts / (counts + self._length_part[here])
        order = np.argsort(-scores, kind="stable")[:depth]
        return {self.ids[place] for place in order}


def agreement(index: Index, exact: ExactBM25, query_words: Words, queries: Sequence[str]) -> float:
    """The mean share of the exact top ten that the index has in its own."""
    shares = []
    for query, hits in zip(queries, index.search(queries, DEPTH), strict=True):
        wanted = exact.best(query_words(query), DEPTH)
        shares.append(len(wanted & {hit.document.id for hit in hits}) / DEPTH)
    return float(np.mean(shares))


def bm25s_words() -> tuple[Words, Words]:
    """The words that the back end bm25s takes from a document, and from a query."""
    from retrieval_index.backends.bm25s import _WORD, _content_words, _stems

    return lambda text: _stems(_WORD.findall(text.lower())), _content_words


def lucene_words() -> tuple[Words, Words]:
    """The same for the back end lucene, by Lucene's own analyser."""
    from retrieval_index.backends.java import attach, java_class

    attach()
    join, analyse = java_class("java.lang.String").join, java_class("io.anserini.analysis.AnalyzerUtils").analyze
    analyser = java_class("io.anserini.analysis.DefaultEnglishAnalyzer").newDefaultInstance()

    def words(text: str) -> list[str]:
        return str(join(" ", analyse(analyser, text))).split()

    return words, lambda query: words(without_stopwords(clean_query(query)))


ANALYSES = {"bm25s": bm25s_words, "lucene": lucene_words}
"""The back ends whose scores are exact BM25's but for rounding."""
