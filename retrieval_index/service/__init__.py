"""Retrieval over HTTP: one index served to many callers, by one process or several that share its memory-mapped files.

`settings` is what a user can set, `contracts` the bodies on the wire, `batching` joins requests that wait together,
`retrieve` answers POST /retrieve, `app` is the whole application, `connection` bounds what a caller may send before
that, `workers` the processes. docs/retrieval_service.md is the user's page. TLS is left to a proxy; there is no rate
limit by caller, and nothing writes to an index.
"""

from retrieval_index.service.settings import ServiceSettings

__all__ = ["ServiceSettings"]
