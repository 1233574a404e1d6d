"""OpenSearch, or another server with its REST API, for corpora and loads beyond one machine.

The documents live on the server; the index's folder holds one small file that names the servers and the index on them.
Title and text are one field, BM25 with any k1 and b. The server gets terms, for documents as for queries, and splits
them at spaces: no character of a query is a command.

The tests run against a server in Python that implements the part of the REST API that is used here, over HTTP and with
two nodes (tests/support/opensearch_server.py), not against OpenSearch itself. Indexes that were replaced, or whose
build was given up, are not removed from the server.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from retrieval_index.backends.analysis import document_terms, query_terms
from retrieval_index.backends.engine import Backend, Parameter, Searcher, TextParameter, may_be_id
from retrieval_index.backends.opensearch_requests import Server
from retrieval_index.documents import Document, Hit
from retrieval_index.errors import IndexStateError
from retrieval_index.manifest import fsync_directory

BULK_DOCUMENTS = 1000
BULK_BYTES = 5_000_000
"""A request of the build ends at the first of the two; what it holds is what an interrupted build sends again."""

SEARCHES = 100
"""Queries in one request."""

_FILE = "opensearch.json"


@dataclass(frozen=True)
class _Place:
    """What the index's folder says: where the documents are, and how many of them the servers have confirmed."""

    hosts: str
    index: str
    documents: int

    def write(self, directory: Path) -> None:
        """Replace the file, whole or not at all."""
        draft = directory / f"{_FILE}.draft"
        with draft.open("w", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(directory / _FILE)
        fsync_directory(directory)

    @classmethod
    def read(cls, directory: Path) -> _Place | None:
        """Return what the file says, or None where there is none.

        Raises IndexStateError for a file that is something else.
        """
        path = directory / _FILE
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise IndexStateError(f"{path} cannot be read ({error}): build the index again") from error


def layout(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body that creates the index: similarity and fields. Copies are added when the build is complete."""
    stored = {"type": "text", "index": False}
    terms = {"type": "text", "analyzer": "whitespace", "similarity": "bm25", "index_options": "freqs"}
    return {
        "settings": {
            "index": {
                "number_of_shards": int(parameters["shards"]),
                "number_of_replicas": 0,
                "refresh_interval": "-1",
                "similarity": {"bm25": {"type": "BM25", "k1": parameters["k1"], "b": parameters["b"]}},
            },
        },
        "mappings": {
            "dynamic": "strict",
            "_source": {"excludes": ["terms"]},
            "properties": {
                "id": {"type": "keyword"},
                "title": stored,
                "text": stored,
                "position": {"type": "long"},
                "terms": terms,
            },
        },
    }


class OpenSearchSearcher(Searcher):
    """An index on one or several servers. Every search goes to one of them; another one is asked if it fails."""

    def __init__(self, server: Server, place: _Place, shards: int) -> None:
        """Search the index at `place` on `server`, which has it in `shards` parts."""
        self._server = server
        self._index = place.index
        self._count = place.documents
        # Several shards count their terms together, or scores would depend on which shard a document is in.
        self._search_type = "dfs_query_then_fetch" if shards > 1 else "query_then_fetch"

    def search(self, query: str, top_k: int) -> list[Hit]:
        """See `Searcher.search`."""
        return self.search_many([query], top_k)[0]

    def search_many(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        """See `Searcher.search_many`: up to `SEARCHES` queries travel in one request."""
        hits: list[list[Hit]] = []
        for start in range(0, len(queries), SEARCHES):
            asked = [self._asked(query, top_k) for query in queries[start : start + SEARCHES]]
            hits.extend(_hits(answer) for answer in self._server.searches(self._index, asked, self._search_type))
        return hits

    def _asked(self, query: str, top_k: int) -> dict[str, Any]:
        """Return one query's body. One without terms travels too, and matches nothing."""
        return {
            "query": {"match": {"terms": {"query": " ".join(query_terms(query).in_one_field())}}},
            "size": min(top_k, self._count),
            "sort": [{"_score": "desc"}, {"position": "asc"}],
            "track_total_hits": False,
            "_source": ["id", "title", "text"],
        }

    def get(self, document_id: str) -> Document | None:
        """See `Searcher.get`."""
        if not may_be_id(document_id):
            return None
        wanted = {"query": {"term": {"id": {"value": document_id}}}, "size": 1}
        rows = self._server.searches(self._index, [wanted], "query_then_fetch")[0]["hits"]["hits"]
        return _document(rows[0]) if rows else None


def _document(row: Mapping[str, Any]) -> Document:
    return Document(*(row["_source"][name] for name in ("id", "title", "text")))


def _hits(answer: Mapping[str, Any]) -> list[Hit]:
    """Read an answer. The score is the first sort key; `_score` itself is only there if all matches are scored."""
    return [Hit(_document(row), float(row["sort"][0])) for row in answer["hits"]["hits"]]


def _bulks(documents: Iterable[Document], first: int) -> Iterator[list[bytes]]:
    """Yield the documents as pairs of lines, a list for each request.

    A document's place in the corpus is its `_id`, so that one which is sent again replaces itself.
    """
    lines: list[bytes] = []
    size = 0
    for position, document in enumerate(documents, start=first):
        body = {"id": document.id, "title": document.title, "text": document.text, "position": position}
        body["terms"] = " ".join(document_terms(document.title, document.text))
        lines += [b'{"index":{"_id":"%d"}}' % position, orjson.dumps(body)]
        size += len(lines[-1])
        if len(lines) == 2 * BULK_DOCUMENTS or size >= BULK_BYTES:
            yield lines
            lines, size = [], 0
    if lines:
        yield lines


class OpenSearchBackend(Backend):
    """The back end `opensearch`.

    `hosts` are the servers, any number of one cluster's nodes, separated by commas. `index` begins the name of the
    index on them, to which every build adds eight characters of its own. `k1` and `b` are BM25's parameters, Anserini's
    by default; `shards` and `replicas` are the server's.
    """

    name = "opensearch"
    distribution = "opensearch-py"
    parameters: Mapping[str, Parameter | TextParameter] = {
        "hosts": TextParameter(
            "http://localhost:9200",
            r"https?://[^\s,@/]+(,https?://[^\s,@/]+)*",
            "addresses such as 'http://node-1:9200,http://node-2:9200' (user and password come from OPENSEARCH_USER "
            "and OPENSEARCH_PASSWORD)",
        ),
        "index": TextParameter("retrieval", "[a-z0-9][a-z0-9_.-]{0,199}", "a lower-case name such as 'wikipedia'"),
        "k1": Parameter(0.9, 0, 100),
        "b": Parameter(0.4, 0, 1),
        "shards": Parameter(1, 1, 1024),
        "replicas": Parameter(0, 0, 100),
    }

    @property
    def engine_version(self) -> str:
        """The version of the layout above: the client's own does not matter to what is on the server."""
        return "layout-2"

    def indexed(self, directory: Path) -> int:
        """See `Backend.indexed`: what the servers have confirmed. The servers are not asked."""
        place = _Place.read(directory)
        return place.documents if place else 0

    def build(self, documents: Iterable[Document], directory: Path, parameters: Mapping[str, Any]) -> None:
        """See `Backend.build`. Raises RetrievalError if no server answers for a minute, or one refuses a document."""
        place = _Place.read(directory)
        server = Server(parameters["hosts"], building=True)
        if place is None:
            place = _Place(parameters["hosts"], f"{parameters['index']}-{secrets.token_hex(4)}", 0)
            place.write(directory)
        if place.documents:
            server.count(place.index)  # raises when an interrupted build's index is gone
        else:
            server.create(place.index, layout(parameters))
        for lines in _bulks(documents, place.documents):
            server.bulk(place.index, lines)
            place = replace(place, documents=place.documents + len(lines) // 2)
            place.write(directory)
        server.complete(place.index, replicas=int(parameters["replicas"]))
        _check_count(server, place)

    def open(self, directory: Path, parameters: Mapping[str, Any]) -> OpenSearchSearcher:
        """See `Backend.open`.

        Raises:
            RetrievalError: If no server answers.
            IndexStateError: For a missing index, or one that holds more or fewer documents than were built.
        """
        place = _Place.read(directory)
        if place is None:
            raise IndexStateError(f"{directory} has no {_FILE}: build the index again")
        server = Server(os.environ.get("OPENSEARCH_HOSTS") or place.hosts)
        _check_count(server, place)
        return OpenSearchSearcher(server, place, int(parameters["shards"]))


def _check_count(server: Server, place: _Place) -> None:
    count = server.count(place.index)
    if count != place.documents:
        raise IndexStateError(
            f"the index {place.index!r} at {server.hosts} holds {count:,} documents, and {place.documents:,} were "
            "built: somebody has changed it, build it again"
        )


BACKEND = OpenSearchBackend()
