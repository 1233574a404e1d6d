"""Make a retriever from an address."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from retrieval_index.authorization import TOKEN_VARIABLE
from retrieval_index.client.places import Place
from retrieval_index.client.retriever import Retriever
from retrieval_index.client.rotation import Rotation

Address = Path | str | Sequence[str]


def connect(
    address: Address,
    *,
    timeout_s: float = 30.0,
    deadline_s: float = 120.0,
    retries: int | None = None,
    cached_queries: int = 4096,
    threads: int = 2,
    token_env: str = TOKEN_VARIABLE,
    corpus_hash: str = "",
) -> Retriever:
    """Return a retriever over the index at `address`; nothing is opened or asked before the first search.

    Args:
        address: A folder, which is searched in this process; or `http://host:port` of a server that speaks Search-R1's
            contract; or several such of the same index, as a list or with commas between them.
        timeout_s: Seconds for one attempt.
        deadline_s: Seconds for a whole call, with all attempts and the pauses between them.
        retries: Attempts after a failed one; None for as many as the deadline allows. Each comes after a random pause,
            longer each time (at most 10 s), or after the pause that the server asks for by Retry-After.
        cached_queries: Queries whose hits are cached, the least recently used one dropped first; 0 for none. Three
            passages of a kilobyte take about 4 kB.
        threads: Searches that run at once, if the index is in this process.
        token_env: Environment variable with the servers' token; if it is not set, no token is sent.
        corpus_hash: How the index's corpus hash must begin. A search over another corpus, or by a server that does not
            tell its own, fails for good.

    Raises:
        ValueError: For an address that is neither, and numbers out of range.
    """
    parts = parts_of(address)
    positive = {"timeout_s": timeout_s, "deadline_s": deadline_s, "threads": threads}
    for name, value in positive.items():
        if value <= 0:
            raise ValueError(f"{name} must be above 0, got {value}")
    for name, count in {"retries": retries, "cached_queries": cached_queries}.items():
        if count is not None and count < 0:
            raise ValueError(f"{name} must be at least 0, got {count}")
    return Retriever(
        Rotation(_places(parts, threads, token_env, corpus_hash)),
        cached_queries=cached_queries,
        timeout_s=timeout_s,
        deadline_s=deadline_s,
        retries=retries,
    )


def is_http(address: str) -> bool:
    """Tell whether an address, or the first of several, is that of a server."""
    return address.startswith(("http://", "https://"))


def parts_of(address: Address) -> list[str]:
    """Return the addresses of the servers, or the one folder.

    Raises:
        ValueError: For a mixture, or nothing.
    """
    if isinstance(address, Path):
        return [str(address)]
    given = address.split(",") if isinstance(address, str) and is_http(address) else address
    parts = [given] if isinstance(given, str) else [part.strip().rstrip("/") for part in given]
    if not parts or not all(parts):
        raise ValueError(f"no address of an index in {address!r}: give a folder, or http://host:port")
    if len(parts) > 1 and not all(map(is_http, parts)):
        raise ValueError(f"several addresses must all begin with http:// or https://, got {', '.join(parts)}")
    if not is_http(parts[0]) and "://" in parts[0]:
        raise ValueError(f"an index is a folder, or http://host:port, got {parts[0]}")
    return list(dict.fromkeys(parts))


def token_in(variable: str) -> str | None:
    """Return the token in an environment variable, None if it is not set."""
    return os.environ.get(variable) or None


def _places(parts: Sequence[str], threads: int, token_env: str, corpus_hash: str) -> list[Place]:
    if is_http(parts[0]):
        from retrieval_index.client.http import Connections, HttpServer  # heavy, and only needed here

        connections = Connections(token_in(token_env), corpus_hash)
        return [HttpServer(part, connections) for part in parts]
    from retrieval_index.client.local import LocalIndex

    return [LocalIndex(Path(parts[0]), threads, corpus_hash)]
