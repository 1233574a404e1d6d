"""Cut a text to a budget of tokens at the end of a line or a sentence, never inside a word."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

# Where a boundary is looked for, no pattern may go through a long run of line breaks or dots again and again.
_LINE_END = re.compile(r"(?<=\S)(?=\s*(?:\n|\Z))")
_TABLE_ROW = re.compile(r"^\|.*", re.MULTILINE)
_SENTENCE_END = re.compile(
    r"""(?: (?<! \b[A-Z] ) (?<! [.!?]{2} ) [.!?]++ ["'”’)\]]*+ (?= \s++ [^\sa-z] )  # then a capital, a digit, a quote
        |   [。！？]+ [”’」』）]* )""",
    re.VERBOSE,
)
_WORD_END = re.compile(r"(?<=\S)(?=\s|\Z)")


def cut_to_budget(text: str, budget: int, count_tokens: Callable[[str], int]) -> str:
    """Return the longest beginning of `text` that has at most `budget` tokens and ends at a boundary.

    A boundary is the end of a line (so a table loses whole rows, and passages joined by blank lines lose whole
    passages) or of a sentence. Where not even the first sentence or row fits, it is cut between words. Where not even
    its first word fits, the result is "".

    Args:
        text: The text to cut. One within the budget comes back unchanged.
        budget: The most tokens the result may have.
        count_tokens: Counts the tokens of a text. It is called O(log(len(text))) times. The result itself has been
            counted, so the budget holds also for tokenisers whose counts do not grow evenly with the text.

    Raises:
        ValueError: If the budget is negative.
    """
    if budget < 0:
        raise ValueError(f"a token budget cannot be negative, got {budget}")
    if count_tokens(text) <= budget:
        return text
    boundaries = _boundaries(text)
    longest = _longest(text, boundaries, budget, count_tokens)
    if longest:
        return longest
    sentence = text[: boundaries[0]] if boundaries else text
    return _longest(sentence, sorted(_ends(sentence, _WORD_END)), budget, count_tokens)


def _boundaries(text: str) -> list[int]:
    """Return where lines end, and where sentences outside tables end, in rising order."""
    prose = _TABLE_ROW.sub(lambda row: " " * len(row.group()), text)  # same length, so that positions stay valid
    return sorted(_ends(text, _LINE_END) | _ends(prose, _SENTENCE_END))


def _ends(text: str, pattern: re.Pattern[str]) -> set[int]:
    """Return the positions at which matches of `pattern` end; none of them is behind white space, or 0."""
    return {match.end() for match in pattern.finditer(text)}


def _longest(text: str, ends: Sequence[int], budget: int, count_tokens: Callable[[str], int]) -> str:
    """Return the longest `text[:end]` within the budget, by bisection over the rising `ends`, or ""."""
    best, low, high = 0, 0, len(ends) - 1
    while low <= high:
        middle = (low + high) // 2
        if count_tokens(text[: ends[middle]]) <= budget:
            best, low = ends[middle], middle + 1
        else:
            high = middle - 1
    return text[:best]
