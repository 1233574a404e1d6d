"""Whether a run's searches will find an index, and the right one: asked once, before anything is started."""

import ipaddress
from urllib.parse import urlsplit

from retrieval_index import RetrievalError
from retrieval_index.client import describe, is_http, parts_of
from wapo_verl.rollout.settings import GROUP, SearchAgentConfig


def check_index(settings: SearchAgentConfig, nodes: int) -> None:
    """Read a folder's manifest, or ask each server what it serves.

    With several nodes, folders and loopback addresses are another node's business, and are left to the first search,
    which checks the corpus as well.

    Raises:
        ValueError: for no finished index, a server that does not answer or wants another token, servers of different
            indexes, one that gives fewer documents than `top_k`, or another corpus than `corpus_hash` names.
    """
    for address in settings.addresses:
        if nodes > 1 and not all(_is_the_same_everywhere(part) for part in parts_of(address)):
            continue
        try:
            found = describe(address, settings.token_env)
        except RetrievalError as error:
            raise ValueError(f"{GROUP}.index: {error}") from error
        expected = settings.corpus_hash_for(address)
        if not found.corpus_hash.startswith(expected):
            known = f"has the corpus hash {found.corpus_hash[:16]}" if found.corpus_hash else "does not tell its corpus"
            raise ValueError(f"{GROUP}.corpus_hash is {expected}, and {address} {known}: correct one of them")
        if found.max_top_k is not None and settings.top_k > found.max_top_k:
            raise ValueError(
                f"{GROUP}.top_k is {settings.top_k}, and {address} gives at most {found.max_top_k} documents: lower "
                "it, or serve with a larger --max-top-k"
            )


def _is_the_same_everywhere(address: str) -> bool:
    """Tell whether an address means the same server from every node."""
    if not is_http(address):
        return False
    host = urlsplit(address).hostname or ""
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"
