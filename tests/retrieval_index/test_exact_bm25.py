"""bm25s's and Lucene's scores against BM25 written out in 64-bit floats. No GPU, no veRL."""

from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path

import pytest
from support.backends import engine_or_skip

from retrieval_index import Document, build_index, open_index
from retrieval_index.backends.analysis import document_terms

WORDS = [f"{first}{second}" for first in ("gran", "bas", "ob", "qua", "ri", "ot") for second in ("ite", "alt", "ter")]
K1, B = 1.3, 0.6


def corpus() -> list[Document]:
    """200 texts of at most 39 words, whose lengths Lucene keeps exactly; common words are common."""
    draw = random.Random(0)
    weights = [1 / rank for rank in range(1, len(WORDS) + 1)]
    texts = [" ".join(draw.choices(WORDS, weights, k=draw.randint(1, 38))) for _ in range(200)]
    return [Document(f"d{number}", draw.choice(WORDS), text) for number, text in enumerate(texts)]


def exact(documents: list[Document], query: str) -> dict[str, float]:
    """ln(1 + (N - n + 0.5) / (n + 0.5)) * f / (f + k1 * (1 - b + b * length / mean)), summed over the query's words."""
    counts = [Counter(document_terms(item.title, item.text)) for item in documents]
    mean = sum(count.total() for count in counts) / len(counts)
    scores = dict.fromkeys((document.id for document in documents), 0.0)
    for word in dict.fromkeys(document_terms("", query)):
        having = sum(word in count for count in counts)
        weight = math.log(1 + (len(counts) - having + 0.5) / (having + 0.5))
        for document, count in zip(documents, counts, strict=True):
            scores[document.id] += weight * count[word] / (count[word] + K1 * (1 - B + B * count.total() / mean))
    return {name: score for name, score in scores.items() if score}


@pytest.mark.parametrize("name", ["bm25s", "lucene"])
def test_scores_are_exact(name: str, tmp_path: Path) -> None:
    engine_or_skip(name)
    documents = corpus()
    build_index(documents, tmp_path / "index", name, k1=K1, b=B)
    index = open_index(tmp_path / "index")
    draw = random.Random(1)
    for length in (1, 2, 3, 6, 12):
        query = " ".join(draw.sample(WORDS, length))
        wanted = exact(documents, query)
        hits = index.search([query], len(documents))[0]
        assert {hit.document.id: hit.score for hit in hits} == pytest.approx(wanted, rel=2e-6)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
