"""What an address serves, asked before a run. It blocks: for start-up checks alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from retrieval_index.authorization import TOKEN_VARIABLE
from retrieval_index.client.answers import read_error
from retrieval_index.client.connecting import Address, is_http, parts_of, token_in
from retrieval_index.errors import IndexStateError, RetrievalError
from retrieval_index.index import inspect_index

ASK_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Description:
    """What is known of the index at an address.

    Attributes:
        corpus_hash: See `Manifest`; empty if a server does not say, as servers of other packages do not.
        documents: How many it has; 0 if a server does not say.
        max_top_k: The most documents a query may ask for; None if there is no limit or none is known.
    """

    corpus_hash: str
    documents: int
    max_top_k: int | None = None


def describe(address: Address, token_env: str = TOKEN_VARIABLE) -> Description:
    """Inspect a folder, as far as possible without opening the index, or ask every server.

    Raises:
        RetrievalError: If there is no complete index of this version, a server does not answer or refuses, or servers
            serve different indexes.
    """
    parts = parts_of(address)
    if not is_http(parts[0]):
        manifest, _ = inspect_index(parts[0])
        return Description(manifest.corpus_hash, manifest.documents)
    served = {part: _ask(part, token_in(token_env)) for part in parts}
    first, *others = served
    for other in others:
        if served[other].corpus_hash != served[first].corpus_hash:
            raise IndexStateError(f"{first} and {other} serve different indexes: give servers of one index")
    return served[first]


def _ask(server: str, token: str | None) -> Description:
    import httpx  # heavy, and only needed here

    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        answer = httpx.get(f"{server}/info", headers=headers, timeout=ASK_TIMEOUT_S, trust_env=False)
    except httpx.HTTPError as error:
        raise RetrievalError(
            f"no answer from {server} ({type(error).__name__}): start it with `python -m retrieval_index serve`, or "
            "correct the address"
        ) from error
    if answer.status_code == 404:
        return Description("", 0)  # a server of the same contract, but not this package's
    if answer.status_code != 200:
        raise RetrievalError(f"{server} refuses with status {answer.status_code}: {read_error(answer.content)}")
    try:
        return _read(answer.json())
    except (ValueError, KeyError, TypeError) as error:
        raise RetrievalError(f"{server}/info is no description of an index ({error!r}): correct the address") from error


def _read(record: Any) -> Description:
    manifest, limits = record["manifest"], record["limits"]
    return Description(str(manifest["corpus_hash"]), int(manifest["documents"]), int(limits["max_top_k"]))
