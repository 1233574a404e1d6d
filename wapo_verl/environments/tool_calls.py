"""What a call of the search tool asks for, read from the text between its tags.

A call is JSON, `{"name": "search", "arguments": {"query_list": ["a query"]}}`, or Qwen3-Coder's XML,
`<function=search><parameter=query_list>["a query"]</parameter></function>`; several may stand behind one another. A
call that is malformed in a way that has one meaning is repaired: arguments written as a JSON string, or under
"parameters"; `query` or `queries` for `query_list`; one text, or the list alone, where a list or an object is expected.
Every other mistake is a `CallError`, whose message is what the policy is told; it repeats nothing of the policy's own.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

SEARCH_TOOL = "search"
"""The name of the tool protocol's one tool."""

QUERIES_KEY = "query_list"
"""Its one argument: a list of queries."""

_OTHER_KEYS = ("queries", "query")
_EXAMPLE = json.dumps({"name": SEARCH_TOOL, "arguments": {QUERIES_KEY: ["a query"]}})
_FUNCTION = re.compile(r"<function=([^<>\s]*)>(.*?)(?:</function>|\Z)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^<>\s]*)>(.*?)(?:</parameter>|(?=<parameter=)|\Z)", re.DOTALL)
_DECODER = json.JSONDecoder()


class CallError(ValueError):
    """A call that cannot be carried out; the message tells the policy why, and how a call looks."""

    def __init__(self, problem: str, outcome: str = "bad_call") -> None:
        super().__init__(f"Error: {problem}. A call looks like this: {_EXAMPLE}")
        self.outcome = outcome


def read_calls(contents: Iterable[str], most_queries: int) -> tuple[tuple[str, ...], bool]:
    """Read the calls of one turn, in time linear in their length.

    Args:
        contents: what stands between the tags of each call.
        most_queries: how many queries all the calls of a turn may have together.

    Returns:
        The queries in order, stripped and not empty, and whether a call had to be repaired.

    Raises:
        CallError: for a malformed call, no query, or too many.
    """
    read = [_queries(call) for content in contents for call in _calls(content)]
    if not read:
        raise CallError("the call is not a JSON object")
    queries = tuple(query.strip() for found, _ in read for query in found)
    if not queries or not all(queries):
        raise CallError("the call has no query, or an empty one", "empty_query")
    if len(queries) > most_queries:
        raise CallError(f"a turn may have at most {most_queries} queries, and this one has {len(queries)}")
    return queries, any(repaired for _, repaired in read)


def _calls(content: str) -> Iterator[Any]:
    """Yield each call between two tags as a JSON value."""
    content = content.strip()
    if not content:
        raise CallError("the call is empty", "empty_query")
    if content.startswith("<function="):
        for name, body in _FUNCTION.findall(content):
            yield {"name": name, "arguments": {key: _parameter(value) for key, value in _PARAMETER.findall(body)}}
        return
    for value in _json_values(content):
        yield from value if isinstance(value, list) else [value]


def _json_values(text: str) -> Iterator[Any]:
    """Yield the JSON values that stand behind one another in a text."""
    place = 0
    while place < len(text):
        try:
            value, place = _DECODER.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            raise CallError("the call is not valid JSON") from error
        yield value
        while place < len(text) and (text[place].isspace() or text[place] in ",;"):
            place += 1


def _queries(call: Any) -> tuple[list[str], bool]:
    """Return the queries of one call, and whether it was repaired."""
    if not isinstance(call, dict):
        raise CallError("the call is not a JSON object")
    if call.get("name") != SEARCH_TOOL:
        raise CallError(f'the only tool is named "{SEARCH_TOOL}"')
    if "arguments" in call:
        arguments = call["arguments"]
        exact = isinstance(arguments, dict) and QUERIES_KEY in arguments
    else:
        arguments, exact = call.get("parameters"), False
    value = _value_in(arguments)
    if isinstance(value, str):
        value, exact = _list_in(value), False
    if not isinstance(value, list) or not all(map(_is_text, value)):
        raise CallError(f'"{QUERIES_KEY}" must be a list of texts')
    return value, not exact


def _value_in(arguments: Any) -> Any:
    """Return the value that stands for the queries: a list, or a text."""
    if isinstance(arguments, str) and arguments.lstrip().startswith(("{", "[")):
        arguments = next(_json_values(arguments.strip()))
    if not isinstance(arguments, dict):
        return arguments
    for key in (QUERIES_KEY, *_OTHER_KEYS):
        if key in arguments:
            return arguments[key]
    raise CallError(f'the arguments have no "{QUERIES_KEY}"')


def _parameter(text: str) -> Any:
    """Return what an XML parameter holds: a list where it is written as one, else its text."""
    return _list_in(text.strip()) if text.lstrip().startswith("[") else text.strip()


def _list_in(text: str) -> Any:
    """Return the list that a text holds as JSON; else the text as the only query."""
    return next(_json_values(text)) if text.startswith("[") else [text]


def _is_text(value: object) -> bool:
    """Tell whether a JSON value is text: a string, and no half of a surrogate pair in it, which JSON can spell."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)
