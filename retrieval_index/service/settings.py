"""What a user can set about the service, checked before anything is started."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, fields
from pathlib import Path

from retrieval_index.authorization import TOKEN_VARIABLE
from retrieval_index.errors import RetrievalError

CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """Settings of one service, the same for all its worker processes.

    Attributes:
        index: Folder of the index.
        host: Address to listen on. One that other machines reach is refused without a token.
        port: 0 takes a free one, which is printed.
        workers: Processes, each with its own threads, queue and open index.
        threads: Searches that one worker runs at once; 0 shares the machine's cores among the workers.
        default_top_k: Documents if a request names no number.
        max_top_k: Largest number of documents that a request may ask for.
        max_queries: Queries in one request.
        max_documents: Documents in one answer: queries times documents for each.
        max_body_bytes: Bytes of one request's body.
        queue_limit: Queries that may wait in one worker; a request beyond it gets 503.
        max_wait_s: Seconds that a request may wait for a free thread before it gets 503.
        max_batch: Queries that one thread takes at a time.
        drain_s: Seconds that accepted requests have at shutdown.
        token: What callers must send as `Authorization: Bearer TOKEN`; None for no token.
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
        """Raise RetrievalError, in one sentence, for settings that cannot work."""
        least = {"threads": 0, "port": 0, "max_wait_s": 0.001, "drain_s": 0.0}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and value < least.get(field.name, 1):
                raise RetrievalError(f"{option(field.name)} must be at least {least.get(field.name, 1):g}, not {value}")
        if self.port > 65535:
            raise RetrievalError(f"--port must be at most 65535, not {self.port}")
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
                f"--host {self.host} lets other machines in: give a token (in RETRIEVAL_TOKEN, or in the "
                "variable that --token-from-env names), or listen on 127.0.0.1"
            )

    @property
    def threads_each(self) -> int:
        """Search threads of one worker."""
        return self.threads or max(1, CORES // self.workers)


def option(name: str) -> str:
    """Return a setting's name on the command line."""
    return "--" + name.replace("_", "-")


def is_loopback(host: str) -> bool:
    """Tell whether an address can be reached from this machine alone; no other name than localhost counts as such."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def token_from(variable: str | None) -> str | None:
    """Return the token in the environment.

    Args:
        variable: The variable that must hold it; None for `TOKEN_VARIABLE`, which may be missing.

    Returns:
        The token, None if no variable is named and `TOKEN_VARIABLE` is not set.

    Raises:
        RetrievalError: If the named variable is empty or not set, or its value cannot be part of a header.
    """
    name = variable or TOKEN_VARIABLE
    token = os.environ.get(name, "")
    if not token and variable is None:
        return None
    if not token:
        raise RetrievalError(f"--token-from-env {name}: the environment has no {name}, or an empty one: set it")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise RetrievalError(f"the token in {name} must have ASCII letters, digits and signs, and no spaces: change it")
    return token
