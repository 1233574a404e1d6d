"""Lucene, from the jar in the package pyserini: any k1 and b at any size, or results comparable with published ones.

Title and text are one field; BM25 without the factor (k1 + 1). Lucene keeps a text's length in one byte, so that scores
of texts beyond 40 words differ a little from exact BM25. A term counts once however often a query repeats it. Queries
are built from terms: Lucene's query language is never parsed. Java 21 or newer runs inside this process (see `java`).

With the parameter `analyser=anserini`, documents and queries are analysed as Anserini does by default (Lucene's
tokenizer and 33 stopwords, Porter's stemmer), to be set beside published BM25 figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

from retrieval_index.backends.analysis import (
    MAX_QUERY_CHARACTERS,
    MAX_QUERY_TERMS,
    document_terms,
    query_terms,
)
from retrieval_index.backends.engine import Backend, Parameter, Searcher, TextParameter, may_be_id
from retrieval_index.backends.java import JavaError, JString, attach, java_class
from retrieval_index.documents import Document, Hit
from retrieval_index.errors import IndexStateError, RetrievalError

version("pyserini")  # raises here, where it becomes a sentence, when the package with the jar is missing

ANSERINI = "anserini"

COMMIT_EVERY = 100_000
"""Documents between two commits: what an interrupted build loses at most."""


class _Classes:
    """Lucene's classes by their short names."""

    _packages: ClassVar = {
        "io.anserini.analysis": "AnalyzerUtils DefaultEnglishAnalyzer",
        "java.nio.file": "Paths",
        "org.apache.lucene.analysis.core": "WhitespaceAnalyzer",
        "org.apache.lucene.document": "Document Field Field$Store FieldType StoredField StringField",
        "org.apache.lucene.index": (
            "DirectoryReader IndexOptions IndexWriter IndexWriterConfig IndexWriterConfig$OpenMode LogDocMergePolicy "
            "SerialMergeScheduler Term"
        ),
        "org.apache.lucene.search": "BooleanClause$Occur BooleanQuery$Builder IndexSearcher TermQuery",
        "org.apache.lucene.search.similarities": "BM25Similarity",
        "org.apache.lucene.store": "FSDirectory",
    }

    def __init__(self) -> None:
        for package, names in self._packages.items():
            for name in names.split():
                setattr(self, name.partition("$")[2] or name, java_class(f"{package}.{name}"))

    def __getattr__(self, name: str) -> Any:  # for the type checker alone: all are set above
        raise AttributeError(name)

    def directory(self, path: Path) -> Any:
        return self.FSDirectory.open(self.Paths.get(str(path)))

    def analyser(self, name: str) -> Any:
        """Return the analyser for a document's terms, separated by spaces, or for its text (Anserini's)."""
        return self.DefaultEnglishAnalyzer.newDefaultInstance() if name == ANSERINI else self.WhitespaceAnalyzer()


@contextmanager
def _in_words(doing: str, error_class: type[RetrievalError] = RetrievalError) -> Iterator[None]:
    """Turn Java's exceptions into RetrievalError."""
    try:
        yield
    except JavaError as error:
        raise error_class(f"Lucene failed to {doing}: {error}") from error


class LuceneSearcher(Searcher):
    """An open Lucene index."""

    def __init__(self, directory: Path, k1: float, b: float, analyser: str) -> None:
        """Open the index in `directory`. Raises RetrievalError if Java or Lucene cannot."""
        self._java = _Classes()
        self._anserini = self._java.analyser(ANSERINI) if analyser == ANSERINI else None
        with _in_words(f"open {directory}, build the index again", IndexStateError):
            reader = self._java.DirectoryReader.open(self._java.directory(directory))
            self._searcher = self._java.IndexSearcher(reader)
            self._searcher.setSimilarity(self._java.BM25Similarity(k1, b))
            self._count = int(reader.numDocs())

    def _terms(self, query: str) -> list[str]:
        if self._anserini is None:
            return query_terms(query).in_one_field()
        readable = query[:MAX_QUERY_CHARACTERS].encode("utf-8", "ignore").decode("utf-8")
        terms = self._java.AnalyzerUtils.analyze(self._anserini, readable)
        return list(dict.fromkeys(str(term) for term in terms))[:MAX_QUERY_TERMS]

    def _query(self, terms: list[str]) -> Any:
        """Return one optional term query for each term."""
        builder = self._java.Builder()
        for term in terms:
            builder.add(self._java.TermQuery(self._java.Term("contents", term)), self._java.Occur.SHOULD)
        return builder.build()

    def _document(self, number: int) -> Document:
        stored = self._searcher.storedFields().document(number)
        return Document(*(str(stored.get(name)) for name in ("id", "title", "text")))

    def search(self, query: str, top_k: int) -> list[Hit]:
        """See `Searcher.search`. Lucene itself orders ties by the order of insertion."""
        attach()
        with _in_words("search"):
            terms = self._terms(query)
            if not terms:
                return []
            hits = self._searcher.search(self._query(terms), min(top_k, self._count)).scoreDocs
            return [Hit(self._document(hit.doc), float(hit.score)) for hit in hits]

    def get(self, document_id: str) -> Document | None:
        """See `Searcher.get`."""
        attach()
        if not may_be_id(document_id):
            return None
        with _in_words("look up a document"):
            wanted = self._java.TermQuery(self._java.Term("id", document_id))
            hits = self._searcher.search(wanted, 1).scoreDocs
            return self._document(hits[0].doc) if hits else None


class _Writer:
    """Appends documents to an index, in one thread and in order, so that ties stay in the order of insertion."""

    def __init__(self, directory: Path, parameters: Mapping[str, Any]) -> None:
        self._java = java = _Classes()
        self._is_anserini = parameters["analyser"] == ANSERINI
        config = java.IndexWriterConfig(java.analyser(parameters["analyser"]))
        config.setOpenMode(java.OpenMode.CREATE_OR_APPEND)
        config.setMergePolicy(java.LogDocMergePolicy())  # merges neighbours, others mix the order
        config.setMergeScheduler(java.SerialMergeScheduler())
        config.setSimilarity(java.BM25Similarity(parameters["k1"], parameters["b"]))
        config.setRAMBufferSizeMB(parameters["memory_mb"])
        self._writer = java.IndexWriter(java.directory(directory), config)
        counted = java.FieldType()
        counted.setIndexOptions(java.IndexOptions.DOCS_AND_FREQS)
        counted.setTokenized(True)
        counted.freeze()
        self._fields = {
            "id": java.StringField("id", "", java.Store.YES),
            "title": java.StoredField("title", ""),
            "text": java.StoredField("text", ""),
            "contents": java.Field("contents", JString(""), counted),
        }
        self._record = java.Document()
        for field in self._fields.values():
            self._record.add(field)

    def add(self, document: Document) -> None:
        self._fields["id"].setStringValue(document.id)
        self._fields["title"].setStringValue(document.title)
        self._fields["text"].setStringValue(document.text)
        if self._is_anserini:
            contents = f"{document.title}\n{document.text}"
        else:
            contents = " ".join(document_terms(document.title, document.text))
        self._fields["contents"].setStringValue(contents)
        self._writer.addDocument(self._record)

    def commit(self) -> None:
        self._writer.commit()

    def finish(self) -> None:
        self._writer.forceMerge(1)
        self._writer.close()

    def abandon(self) -> None:
        self._writer.rollback()


class LuceneBackend(Backend):
    """The back end `lucene`.

    `k1` and `b` are BM25's parameters, Anserini's by default; `memory_mb` is the writer's buffer; `analyser` is this
    package's, or Anserini's.
    """

    name = "lucene"
    distribution = "pyserini"
    parameters: Mapping[str, Parameter | TextParameter] = {
        "k1": Parameter(0.9, 0, 100),
        "b": Parameter(0.4, 0, 1),
        "memory_mb": Parameter(128, 16, 256),
        "analyser": TextParameter("own", f"own|{ANSERINI}", f"'own' or '{ANSERINI}'"),
    }

    def analyser(self, parameters: Mapping[str, Any]) -> str:
        """See `Backend.analyser`. Anserini's has the version of the package that its jar comes from."""
        return ANSERINI if parameters["analyser"] == ANSERINI else super().analyser(parameters)

    def indexed(self, directory: Path) -> int:
        """See `Backend.indexed`: the documents of the last commit."""
        if not any(directory.glob("segments_*")):
            return 0
        java = _Classes()
        with _in_words(f"read the interrupted build in {directory}, remove it and start again", IndexStateError):
            reader = java.DirectoryReader.open(java.directory(directory))
            documents = int(reader.numDocs())
            reader.close()
        return documents

    def build(self, documents: Iterable[Document], directory: Path, parameters: Mapping[str, Any]) -> None:
        """See `Backend.build`. Commits every `COMMIT_EVERY` documents."""
        attach()
        with _in_words("write the index, check the space left on the disk"):
            writer = _Writer(directory, parameters)
            try:
                for number, document in zip(count(1), documents, strict=False):
                    writer.add(document)
                    if number % COMMIT_EVERY == 0:
                        writer.commit()
                writer.commit()
                writer.finish()
            except BaseException:
                writer.abandon()
                raise

    def open(self, directory: Path, parameters: Mapping[str, Any]) -> LuceneSearcher:
        """See `Backend.open`. Raises RetrievalError if there is no Java that is new enough."""
        return LuceneSearcher(directory, parameters["k1"], parameters["b"], parameters["analyser"])


BACKEND = LuceneBackend()
