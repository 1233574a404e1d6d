"""Documents, BM25 back ends behind one small interface, an index builder, a service and a client.

Build once with `build_index`, open in every process with `open_index`; `retrieval_index.service` serves an index over
HTTP, `retrieval_index.client` is the asynchronous way to either, `retrieval_index.corpora` reads the benchmarks'
corpora, `python -m retrieval_index` is the command line. Left out: dense retrieval.
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
