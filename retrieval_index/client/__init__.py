"""Asynchronous search for agent loops: in this process if the index is a folder, over HTTP if it is served.

A search that cannot be answered raises; it never becomes an empty result. `retriever` has the deadline, the retries
and the cache; `rotation` chooses among several servers; `local` and `http` are the places that are asked; `counters`
counts; `description` says, before a run, what an address serves. On the wire the client speaks Search-R1's contract
alone. Proxies named in the environment are not used.
"""

from retrieval_index.authorization import TOKEN_VARIABLE
from retrieval_index.client.connecting import connect, is_http, parts_of
from retrieval_index.client.counters import Attempts
from retrieval_index.client.description import Description, describe
from retrieval_index.client.retriever import Retriever

__all__ = ["TOKEN_VARIABLE", "Attempts", "Description", "Retriever", "connect", "describe", "is_http", "parts_of"]
