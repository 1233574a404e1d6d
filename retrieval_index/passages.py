"""Cutting text to a budget of tokens at a line or sentence boundary, so that none ends inside a word."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_LINE_END = re.compile(r"\n|$")
_TABLE_ROW = re.compile(r"^\|.*", re.MULTILINE)
_SENTENCE_END = re.compile(
    r"""(?: (?<! \b[A-Z] ) [.!?]+ ["'”’)\]]*  (?= \s+ [^\sa-z] )   # a full stop before a capital, a digit, a quote
        |   [。！？]+ [”’」』）]* )""",
    re.VERBOSE,
)
_WORD_END = re.compile(r"(?<=\S)(?=\s|$)")


def cut_to_budget(text: str, budget: int, count_tokens: Callable[[str], int]) -> str:
    """The longest beginning of `text` that has at most `budget` tokens and ends at a boundary.

    Boundaries are the ends of lines (so a table loses whole rows, and passages joined by blank lines whole passages)
    and of sentences. A first sentence or row that is too long by itself is cut between words; if not even its first
    word fits, the result is "". Text within the budget comes back unchanged. `count_tokens` is called a logarithmic
    number of times; what is returned has itself been counted, so the budget holds even for tokenisers whose counts do
    not grow evenly with the text. Raises ValueError for a negative budget.
    """
    if budget < 0:
        raise ValueError(f"a token budget cannot be negative, got {budget}")
    if count_tokens(text) <= budget:
        return text
    boundaries = _boundaries(text)
    found = _longest(text, boundaries, budget, count_tokens)
    if found:
        return found
    sentence = text[: boundaries[0]] if boundaries else text
    return _longest(sentence, sorted(_ends(sentence, _WORD_END)), budget, count_tokens)


def _boundaries(text: str) -> list[int]:
    """Where lines end, and sentences outside tables' rows, rising."""
    prose = _TABLE_ROW.sub(lambda row: " " * len(row.group()), text)  # of the same length, so that places stay true
    return sorted(_ends(text, _LINE_END) | _ends(prose, _SENTENCE_END))


def _ends(text: str, pattern: re.Pattern[str]) -> set[int]:
    """The places where a match of `pattern` ends, white space before them left out, and some text stands before."""
    places = set()
    for match in pattern.finditer(text):
        end = match.end()
        while end and text[end - 1].isspace():
            end -= 1
        places.add(end)
    return places - {0}


def _longest(text: str, ends: Sequence[int], budget: int, count_tokens: Callable[[str], int]) -> str:
    """The longest `text[:end]` found within the budget by bisection, or ""."""
    best, low, high = 0, 0, len(ends) - 1
    while low <= high:
        middle = (low + high) // 2
        if count_tokens(text[: ends[middle]]) <= budget:
            best, low = ends[middle], middle + 1
        else:
            high = middle - 1
    return text[:best]
