"""A back end for toy corpora and tests: rank-bm25, a pure Python BM25 that scores every document for every query.

Its inverse document frequency is replaced by ln(1 + (N - n + 0.5) / (n + 0.5)) (Lucene's and tantivy's), which is
always positive; the library's own is not for a word in half of the documents, which in a toy corpus many are.
Title and text are one field. Nothing but the documents is stored: the tables are rebuilt whenever the index is opened.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from rank_bm25 import BM25Okapi

from retrieval_index.backends.analysis import document_terms, query_terms
from retrieval_index.backends.engine import Backend, Parameter, Searcher
from retrieval_index.documents import Document, Hit
from retrieval_index.errors import IndexStateError

MAX_DOCUMENTS = 20_000
"""A query costs some 3 microseconds a document; beyond this size a search takes longer than a model's token."""

_FILE = "documents.jsonl"


class PositiveBM25(BM25Okapi):
    """BM25Okapi with an inverse document frequency that is positive for every word."""

    def _calc_idf(self, nd: dict[str, int]) -> None:
        for word, count in nd.items():
            self.idf[word] = math.log(1 + (self.corpus_size - count + 0.5) / (count + 0.5))


class RankBM25Searcher(Searcher):
    """All documents in memory."""

    def __init__(self, documents: list[Document], k1: float, b: float) -> None:
        """Compute the tables for `documents`; `k1` and `b` are BM25's parameters."""
        self._documents = documents
        self._by_id = {document.id: document for document in documents}
        self._scorer = PositiveBM25([document_terms(item.title, item.text) for item in documents], k1=k1, b=b)
        self._scorer.avgdl = max(self._scorer.avgdl, 1.0)  # a corpus without any word would divide by zero

    def search(self, query: str, top_k: int) -> list[Hit]:
        """See `Searcher.search`."""
        terms = [term for term in query_terms(query).in_one_field() if term in self._scorer.idf]
        if not terms:
            return []
        scores = self._scorer.get_scores(terms)
        order = np.argsort(-scores, kind="stable")[:top_k]
        return [Hit(self._documents[place], float(scores[place])) for place in order if scores[place] > 0]

    def get(self, document_id: str) -> Document | None:
        """See `Searcher.get`."""
        return self._by_id.get(document_id)


class RankBM25Backend(Backend):
    """The back end `rank_bm25`. `k1` and `b` are BM25's parameters; the defaults are tantivy's."""

    name = "rank_bm25"
    distribution = "rank-bm25"
    parameters: Mapping[str, Parameter] = {"k1": Parameter(1.2, 0, 100), "b": Parameter(0.75, 0, 1)}

    def build(self, documents: Iterable[Document], directory: Path, parameters: Mapping[str, float]) -> None:
        """See `Backend.build`. Raises ValueError beyond `MAX_DOCUMENTS`."""
        with (directory / _FILE).open("w", encoding="utf-8") as file:
            for position, document in enumerate(documents):
                if position == MAX_DOCUMENTS:
                    raise ValueError(
                        f"the back end 'rank_bm25' is for toy corpora of at most {MAX_DOCUMENTS} documents, and this "
                        "one has more: use another back end (bm25s, lucene, opensearch, tantivy)"
                    )
                file.write(json.dumps([document.id, document.title, document.text]) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def open(self, directory: Path, parameters: Mapping[str, float]) -> RankBM25Searcher:
        """See `Backend.open`."""
        path = directory / _FILE
        try:
            with path.open(encoding="utf-8") as file:
                documents = [Document(*json.loads(line)) for line in file]
        except (OSError, ValueError, TypeError) as error:
            raise IndexStateError(f"{path} cannot be read ({error}): build the index again") from error
        return RankBM25Searcher(documents, parameters["k1"], parameters["b"])


BACKEND = RankBM25Backend()
