"""The default back end: tantivy, an embedded search engine whose index is memory-mapped, so that opening it is cheap.

Two indexed fields, title and text, English stemming, BM25 with k1 = 1.2 and b = 0.75 (fixed in the engine); a score
is the text's plus `title_weight` times the title's. Queries are built term by term from the analyser's own tokens:
tantivy's query language is never parsed, so no character of a query means anything but itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import tantivy

from retrieval_index.backends.engine import Backend, Parameter, Searcher, distinct, may_be_id
from retrieval_index.backends.english import MAX_QUERY_WORDS, STOPWORDS, clean_query
from retrieval_index.documents import Document, Hit
from retrieval_index.errors import IndexStateError, RetrievalError

ANALYSER = "english_words"
LONGEST_WORD = 40
"""Bytes; longer tokens (addresses, noise) are left out of the index and of queries."""

COMMIT_EVERY = 500_000
"""Documents after which what has been taken is made safe: what a killed build loses at most, half a minute's work. A
commit ends a segment, and each further segment makes searches slower: two instead of one on OTT-QA, by a tenth."""

SMALLEST_HEAP_MB = 16
"""Of each thread; the engine takes no less."""


def _analyser(stopwords: Iterable[str] = ()) -> tantivy.TextAnalyzer:
    """Split at all that is not alphanumeric, drop very long tokens, lower the case, drop `stopwords`, stem."""
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    builder = builder.filter(tantivy.Filter.remove_long(LONGEST_WORD)).filter(tantivy.Filter.lowercase())
    builder = builder.filter(tantivy.Filter.custom_stopword(sorted(stopwords)))
    return builder.filter(tantivy.Filter.stemmer("english")).build()


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("id", stored=True, tokenizer_name="raw", index_option="basic")
    builder.add_text_field("title", stored=True, tokenizer_name=ANALYSER, index_option="freq")
    builder.add_text_field("text", stored=True, tokenizer_name=ANALYSER, index_option="freq")
    builder.add_unsigned_field("position", fast=True)
    return builder.build()


class TantivySearcher(Searcher):
    """An open tantivy index."""

    def __init__(self, directory: Path, title_weight: float) -> None:
        try:
            index = tantivy.Index.open(str(directory))
            index.register_tokenizer(ANALYSER, _analyser())  # the engine does not store custom analysers
            self._searcher = index.searcher()
        except (ValueError, OSError, RuntimeError) as error:
            raise IndexStateError(
                f"tantivy cannot open {directory} ({error}): let this user write there, where the engine makes a lock "
                "file, or build the index again"
            ) from error
        self._schema = index.schema
        self._title_weight = title_weight
        self._analyser = _analyser(STOPWORDS)

    def _query(self, text: str) -> tantivy.Query | None:
        """One optional term query for each distinct content word and field; None when there is no such word."""
        words = distinct(self._analyser.analyze(clean_query(text)), MAX_QUERY_WORDS)
        if not words:
            return None
        terms = []
        for word in words:
            in_title = tantivy.Query.term_query(self._schema, "title", word, "freq")
            terms.append((tantivy.Occur.Should, tantivy.Query.boost_query(in_title, self._title_weight)))
            terms.append((tantivy.Occur.Should, tantivy.Query.term_query(self._schema, "text", word, "freq")))
        return tantivy.Query.boolean_query(terms)

    def _ranked(self, query: tantivy.Query, top_k: int) -> list[tuple[float, tantivy.DocAddress]]:
        """The best `top_k` with ties in the order of insertion, which the engine's merged segments do not keep.

        One more hit than asked for is fetched; while the last one ties with the `top_k`-th, twice as many are.
        """
        limit = top_k + 1
        while True:
            found = self._searcher.search(query, limit, count=False).hits
            if len(found) < limit or found[-1][0] < found[top_k - 1][0]:
                break
            limit *= 2
        positions = self._searcher.fast_field_values("position", [address for _, address in found])
        order = sorted(range(len(found)), key=lambda place: (-found[place][0], positions[place]))
        return [found[place] for place in order[:top_k]]

    def _document(self, address: tantivy.DocAddress) -> Document:
        stored = self._searcher.doc(address).to_dict()
        return Document(stored["id"][0], stored["title"][0], stored["text"][0])

    def search(self, query: str, top_k: int) -> list[Hit]:
        """See `Searcher.search`."""
        parsed = self._query(query)
        if parsed is None or self._searcher.num_docs == 0:
            return []
        try:
            ranked = self._ranked(parsed, min(top_k, self._searcher.num_docs))
            return [Hit(self._document(address), score) for score, address in ranked]
        except (ValueError, OSError, RuntimeError) as error:
            raise RetrievalError(f"tantivy failed to search: {error}") from error

    def get(self, document_id: str) -> Document | None:
        """See `Searcher.get`."""
        if not may_be_id(document_id):
            return None
        found = self._searcher.search(tantivy.Query.term_query(self._schema, "id", document_id), 1, count=False).hits
        return self._document(found[0][1]) if found else None


def _written(call: Callable[..., object], *arguments: object) -> None:
    """Call a method of the writer, whose only errors, raised as ValueError, are of its threads and files."""
    try:
        call(*arguments)
    except ValueError as error:
        raise RetrievalError(f"tantivy cannot write the index ({error}): check the space left on the disk") from error


class TantivyBackend(Backend):
    """`memory_mb` is the writer's buffer: the build's memory stays near it, whatever the size of the corpus.

    `threads` index at once, each in its part of the buffer, which is 16 MB at least: a document costs an indexing
    thread some seven times what it costs the reading one. Searches find the same, in the same order, whatever it is.
    `title_weight` multiplies the title's score. On OTT-QA's dev questions 1 finds more tables and 0.25 more passages;
    see benchmarks/retrieval.md for the default's figures.
    """

    name = "tantivy"
    distribution = "tantivy"
    parameters: Mapping[str, Parameter] = {
        "memory_mb": Parameter(128, SMALLEST_HEAP_MB, 4000),
        "title_weight": Parameter(0.5, 0.001, 1000),
        "threads": Parameter(1, 1, 16),
    }

    def indexed(self, directory: Path) -> int:
        """See `Backend.indexed`: what is committed, which the engine writes down whole or not at all."""
        try:
            return tantivy.Index.open(str(directory)).searcher().num_docs if tantivy.Index.exists(str(directory)) else 0
        except (ValueError, OSError, RuntimeError) as error:
            raise IndexStateError(f"tantivy cannot go on with {directory} ({error}): begin anew") from error

    def build(self, documents: Iterable[Document], directory: Path, parameters: Mapping[str, Any]) -> None:
        """See `Backend.build`."""
        done = self.indexed(directory)
        index = tantivy.Index(_schema(), path=str(directory))
        index.register_tokenizer(ANALYSER, _analyser())
        threads = int(parameters["threads"])
        heap = max(int(parameters["memory_mb"]), SMALLEST_HEAP_MB * threads) * 1_000_000
        writer = index.writer(heap_size=heap, num_threads=threads)
        try:
            for position, document in enumerate(documents, start=done):
                record = tantivy.Document()
                record.add_text("id", document.id)
                record.add_text("title", document.title)
                record.add_text("text", document.text)
                record.add_unsigned("position", position)  # a keyword argument would panic the writer
                _written(writer.add_document, record)
                if (position + 1) % COMMIT_EVERY == 0:
                    _written(writer.commit)
            _written(writer.commit)
        except BaseException as error:
            # The engine's threads would otherwise still write, and watch, while a failed build's directory is removed.
            del index
            try:
                writer.wait_merging_threads()
            except ValueError as another:
                error.add_note(f"tantivy's threads failed as well: {another}")
            raise
        _written(writer.wait_merging_threads)

    def open(self, directory: Path, parameters: Mapping[str, float]) -> TantivySearcher:
        """See `Backend.open`."""
        return TantivySearcher(directory, parameters["title_weight"])


BACKEND = TantivyBackend()
