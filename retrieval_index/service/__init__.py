"""Retrieval over HTTP: one index served to many callers, by one process or several that share its memory-mapped files.

`settings` is what a user can set, `contracts` the bodies on the wire, `batching` joins requests that wait together,
`retrieve` answers POST /retrieve, `app` is the whole application, `workers` the processes. docs/retrieval_service.md is
the user's page. It has no TLS (a proxy's business), does not write to an index, and limits no caller's rate.
"""

from retrieval_index.service.settings import ServiceSettings

__all__ = ["ServiceSettings"]
