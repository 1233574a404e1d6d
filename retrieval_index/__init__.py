"""BM25 retrieval: build an index once, open it in every process, or serve it over HTTP.

`build_index` builds an index and `open_index` opens it. `retrieval_index.service` serves one over HTTP,
`retrieval_index.client` searches one without blocking an event loop, `retrieval_index.corpora` reads the corpora of the
benchmarks, and `python -m retrieval_index` is the command line.

Layers, from the top; each imports only from those below it:

    cli        commands
    service    an index over HTTP
    client     asynchronous search, in this process or over HTTP
    coverage   what an index holds of a benchmark's rows (`coverage.py`)
    build      from documents to a finished index
    corpora    from files to documents
    index      an open index (`index.py`)
    backends   the search engines, and the analyser that all of them share
    core       `documents.py`, `errors.py`, `manifest.py`, `passages.py`
"""

from retrieval_index.build.build import build_index
from retrieval_index.documents import Document, Hit
from retrieval_index.errors import CorpusError, IndexStateError, RetrievalError
from retrieval_index.index import Index, open_index
from retrieval_index.manifest import Manifest

__all__ = [
    "CorpusError",
    "Document",
    "Hit",
    "Index",
    "IndexStateError",
    "Manifest",
    "RetrievalError",
    "build_index",
    "open_index",
]
