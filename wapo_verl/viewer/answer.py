"""The viewer's JSON, of the server and of an exported page: what a record holds is answered, whatever it is."""

from typing import Any

import orjson
from fastapi import Response

DEEPEST = 100
"""Levels of a value of a record that are answered; a browser's JSON and this encoder have limits of their own."""


class Answer(Response):
    """A JSON answer; a number that is not finite, or that no float holds, becomes null, which a page can read."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode the content."""
        return encoded(content)


def encoded(content: Any) -> bytes:
    """Encode a value as JSON that a browser reads, whatever it holds."""
    options = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
    try:
        return orjson.dumps(content, option=options)
    except orjson.JSONEncodeError:
        return orjson.dumps(_plain(content, DEEPEST), option=options)


def _plain(value: Any, levels: int) -> Any:
    """Return a value without what JSON's encoder refuses: lone surrogates, whole numbers beyond 64 bits, depth."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return float(value) if value.bit_length() < 1024 else None
    if isinstance(value, dict | list) and levels == 0:
        return "(nested too deeply)"
    if isinstance(value, dict):
        return {_plain(str(name), 0): _plain(item, levels - 1) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, levels - 1) for item in value]
    return value
