"""What a user can set about the service, checked before anything is started."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, fields
from pathlib import Path

from retrieval_index.errors import RetrievalError

CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """Settings of one service, the same for all its worker processes.

    Attributes:
        index: folder of the index.
        host: address to listen on; one that other machines reach is refused without a token.
        port: 0 takes a free one, which is printed.
        workers: processes, each with threads, a queue and an open index of its own.
        threads: searches that one worker runs at once; 0 shares the machine's cores among the workers.
        default_top_k: documents where a request names no number.
        max_top_k: largest number of documents a request may ask for.
        max_queries: queries in one request.
        max_documents: documents of one answer, queries times documents a query.
        max_body_bytes: bytes of one request's body.
        queue_limit: queries that may wait in one worker; a request beyond it gets 503.
        max_wait_s: seconds a request may wait for a free thread before it gets 503.
        max_batch: queries that one thread takes at a time.
        drain_s: seconds that requests already taken have at shutdown.
        token: what callers must send as `Authorization: Bearer TOKEN`; none where it is None.
    """

    index: Path
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    threads: int = 0
    default_top_k: int = 3
    max_top_k: int = 100
    max_queries: int = 4096
    max_documents: int = 50_000
    max_body_bytes: int = 4_000_000
    queue_limit: int = 8192
    max_wait_s: float = 20.0
    max_batch: int = 32
    drain_s: float = 30.0
    token: str | None = None

    def __post_init__(self) -> None:
        """Raise RetrievalError, in one sentence, for settings that cannot be served."""
        least = {"threads": 0, "port": 0, "max_wait_s": 0.001, "drain_s": 0.0}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and value < least.get(field.name, 1):
                raise RetrievalError(f"{option(field.name)} must be at least {least.get(field.name, 1):g}, not {value}")
        if self.queue_limit < self.max_queries:
            raise RetrievalError(
                f"--queue-limit {self.queue_limit} is below --max-queries {self.max_queries}, so the largest request "
                "would never be taken: raise one or lower the other"
            )
        if self.default_top_k > self.max_top_k:
            raise RetrievalError(
                f"--default-top-k {self.default_top_k} is above --max-top-k {self.max_top_k}: raise one or lower the "
                "other"
            )
        if self.token is None and not is_loopback(self.host):
            raise RetrievalError(
                f"--host {self.host} lets other machines in: give a token (--token-from-env NAME, the variable "
                "holding it), or listen on 127.0.0.1"
            )

    @property
    def threads_each(self) -> int:
        """Search threads of one worker."""
        return self.threads or max(1, CORES // self.workers)


def option(name: str) -> str:
    """Return a setting's name as the command line has it."""
    return "--" + name.replace("_", "-")


def is_loopback(host: str) -> bool:
    """Tell whether an address is reached from this machine alone; other names than localhost count as reachable."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def token_from(variable: str | None) -> str | None:
    """Return the token in an environment variable, None where no variable is named.

    Raises:
        RetrievalError: where the variable is empty or not set, or its value cannot stand in a header.
    """
    if variable is None:
        return None
    token = os.environ.get(variable, "")
    if not token:
        raise RetrievalError(f"--token-from-env {variable}: the environment has no {variable}, or an empty one: set it")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise RetrievalError(f"--token-from-env {variable}: a token has ASCII letters, digits and signs, no spaces")
    return token
