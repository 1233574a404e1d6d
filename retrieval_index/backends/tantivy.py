"""The default back end: tantivy, an embedded search engine whose index is memory-mapped, so that opening it is cheap.

Title and text are two indexed fields; a score is the text's BM25 score plus `title_weight` times the title's, with
k1 = 1.2 and b = 0.75 (fixed in the engine). Queries are built from terms: tantivy's query language is never parsed, so
no character of a query is a command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import tantivy

from retrieval_index.backends.analysis import ANALYSER, WORDS, QueryTerms, prepared, prepared_title, query_terms
from retrieval_index.backends.engine import Backend, Parameter, Searcher, may_be_id
from retrieval_index.documents import Document, Hit
from retrieval_index.errors import IndexStateError, RetrievalError

COMMIT_EVERY = 500_000
"""Documents between two commits: what a killed build loses at most, half a minute's work. A commit ends a segment, and
each further segment makes searches slower: two instead of one on OTT-QA, by a tenth."""

SMALLEST_HEAP_MB = 16
"""For each thread; the engine takes no less."""

WHOLE_TITLE_SCORE = 15.0
"""For each title of stopwords that a query names, in place of a BM25 score: about what the first hit of a query gets on
OTT-QA. BM25 itself gives next to nothing to one word of a long title in a small corpus."""


def _schema() -> tantivy.Schema:
    """Return the fields: title and text as they are (stored), and as the analyser takes them (indexed)."""
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("id", stored=True, tokenizer_name="raw", index_option="basic")
    for name in ("title", "text"):
        builder.add_bytes_field(name, stored=True)
        builder.add_text_field(f"{name}_terms", tokenizer_name=ANALYSER, index_option="freq")
    builder.add_unsigned_field("position", fast=True)
    return builder.build()


class TantivySearcher(Searcher):
    """An open tantivy index."""

    def __init__(self, directory: Path, title_weight: float) -> None:
        """Open the index in `directory`; `title_weight` multiplies the title's score."""
        try:
            index = tantivy.Index.open(str(directory))
            self._searcher = index.searcher()
        except (ValueError, OSError, RuntimeError) as error:
            raise IndexStateError(
                f"tantivy cannot open {directory} ({error}): let this user write there, where the engine makes a lock "
                "file, or build the index again"
            ) from error
        self._schema = index.schema
        self._title_weight = title_weight

    def _query(self, terms: QueryTerms) -> tantivy.Query:
        """Return one optional term query for each term and field."""
        in_title = dict.fromkeys([*terms.anywhere, *terms.in_titles])
        queries = [tantivy.Query.boost_query(self._term("title_terms", term), self._title_weight) for term in in_title]
        for term in terms.whole_titles:
            if self._searcher.doc_freq("title_terms", term):  # most are no titles, and would slow the search down
                queries.append(tantivy.Query.const_score_query(self._term("title_terms", term), WHOLE_TITLE_SCORE))
        queries += [self._term("text_terms", term) for term in terms.anywhere]
        return tantivy.Query.boolean_query([(tantivy.Occur.Should, query) for query in queries])

    def _term(self, field: str, term: str) -> tantivy.Query:
        return tantivy.Query.term_query(self._schema, field, term, "freq")

    def _ranked(self, query: tantivy.Query, top_k: int) -> list[tuple[float, tantivy.DocAddress]]:
        """Return the best `top_k`, ties in the order of insertion, which the engine's merged segments do not keep.

        One more hit than wanted is fetched. While the last one ties with the `top_k`-th, twice as many are fetched.
        """
        limit = top_k + 1
        while True:
            hits = self._searcher.search(query, limit, count=False).hits
            if len(hits) < limit or hits[-1][0] < hits[top_k - 1][0]:
                break
            limit *= 2
        positions = self._searcher.fast_field_values("position", [address for _, address in hits])
        order = sorted(range(len(hits)), key=lambda place: (-hits[place][0], positions[place]))
        return [hits[place] for place in order[:top_k]]

    def _document(self, address: tantivy.DocAddress) -> Document:
        stored = self._searcher.doc(address).to_dict()
        return Document(stored["id"][0], stored["title"][0].decode(), stored["text"][0].decode())

    def search(self, query: str, top_k: int) -> list[Hit]:
        """See `Searcher.search`."""
        terms = query_terms(query)
        if not terms.anywhere or self._searcher.num_docs == 0:
            return []
        try:
            ranked = self._ranked(self._query(terms), min(top_k, self._searcher.num_docs))
            return [Hit(self._document(address), score) for score, address in ranked]
        except (ValueError, OSError, RuntimeError) as error:
            raise RetrievalError(f"tantivy failed to search: {error}") from error

    def get(self, document_id: str) -> Document | None:
        """See `Searcher.get`."""
        if not may_be_id(document_id):
            return None
        hits = self._searcher.search(tantivy.Query.term_query(self._schema, "id", document_id), 1, count=False).hits
        return self._document(hits[0][1]) if hits else None


def _written(call: Callable[..., object], *arguments: object) -> None:
    """Call a method of the writer. It raises ValueError only for failures of its threads and files."""
    try:
        call(*arguments)
    except ValueError as error:
        raise RetrievalError(f"tantivy cannot write the index ({error}): check the space left on the disk") from error


def _record(document: Document, position: int) -> tantivy.Document:
    record = tantivy.Document()
    record.add_text("id", document.id)
    record.add_bytes("title", document.title.encode())
    record.add_text("title_terms", prepared_title(document.title))
    record.add_bytes("text", document.text.encode())
    record.add_text("text_terms", prepared(document.text))
    record.add_unsigned("position", position)  # as a keyword argument it would panic the writer
    return record


class TantivyBackend(Backend):
    """The back end `tantivy`.

    `memory_mb` is the writer's buffer: the memory of a build stays near it, whatever the size of the corpus.
    `threads` index at once, each in its part of the buffer, which is at least 16 MB; a document costs an indexing
    thread about seven times what it costs the reading one. Searches return the same hits, whatever it is.
    `title_weight` multiplies the title's score. On OTT-QA's dev questions 1 ranks more tables high and 0.25 more
    passages; benchmarks/retrieval.md has the default's figures.
    """

    name = "tantivy"
    distribution = "tantivy"
    parameters: Mapping[str, Parameter] = {
        "memory_mb": Parameter(128, SMALLEST_HEAP_MB, 4000),
        "title_weight": Parameter(0.5, 0.001, 1000),
        "threads": Parameter(1, 1, 16),
    }

    def indexed(self, directory: Path) -> int:
        """See `Backend.indexed`: the committed documents, which the engine writes whole or not at all."""
        try:
            return tantivy.Index.open(str(directory)).searcher().num_docs if tantivy.Index.exists(str(directory)) else 0
        except (ValueError, OSError, RuntimeError) as error:
            raise IndexStateError(f"tantivy cannot resume the build in {directory} ({error}): start again") from error

    def build(self, documents: Iterable[Document], directory: Path, parameters: Mapping[str, Any]) -> None:
        """See `Backend.build`."""
        done = self.indexed(directory)
        index = tantivy.Index(_schema(), path=str(directory))
        index.register_tokenizer(ANALYSER, WORDS)  # the engine does not store custom analysers
        threads = int(parameters["threads"])
        heap = max(int(parameters["memory_mb"]), SMALLEST_HEAP_MB * threads) * 1_000_000
        writer = index.writer(heap_size=heap, num_threads=threads)
        try:
            for position, document in enumerate(documents, start=done):
                _written(writer.add_document, _record(document, position))
                if (position + 1) % COMMIT_EVERY == 0:
                    _written(writer.commit)
            _written(writer.commit)
        except BaseException as error:
            # The engine's threads would otherwise still write while a failed build's directory is removed.
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
