r"""Numbers in words as figures: `twelve` is 12, `two thirds` 2/3, `2.5 million` 2500000, `204_{\text{five}}` 204_5."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from wapo_verl.environments.math.tokens import is_mathematical_word

_SMALL_NAMES = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen
"""
_SMALL = {name: value for value, name in enumerate(_SMALL_NAMES.split())}
_TENS_NAMES = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = {name: 10 * value for value, name in enumerate(_TENS_NAMES.split(), start=2)}
_SCALES = {"trillion": 10**12, "billion": 10**9, "million": 10**6, "thousand": 1_000, "hundred": 100}
_PART_NAMES = "third fourth fifth sixth seventh eighth ninth tenth"
_PARTS = {name: value for value, name in enumerate(_PART_NAMES.split(), start=3)}
_PARTS |= {"half": 2, "quarter": 4, "twelfth": 12, "twentieth": 20, "hundredth": 100, "thousandth": 1_000}
_PARTS |= {f"{name}s": value for name, value in _PARTS.items() if name != "half"} | {"halves": 2}
_SIGNS = frozenset(("minus", "negative"))
_KNOWN = {*_SMALL, *_TENS, *_SCALES, *_PARTS, *_SIGNS, "a", "an", "and"}
_STARTS = tuple(sorted({*_SMALL, *_TENS, *_SIGNS, "half", "a "}))
_LINKS_NAMES = "and or of to by in is are at the that out more less"
_LINKS = frozenset(_LINKS_NAMES.split())
"""Words behind a number that begin a sentence or another answer, and are no unit."""
_IN_TEXT = re.compile(r"\\text\{\s*(?P<inside>[A-Za-z][A-Za-z -]*?)\s*\}(?P<rest>.*)", re.DOTALL)
_SCALED = re.compile(
    r"(?<![0-9.,_^{/])(?P<number>(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?)\s*(?P<text>\\text\{)?\s*"
    rf"(?P<scale>{'|'.join(_SCALES)})(?![a-zA-Z])(?P<end>\s*\}})?"
)
_BASE = re.compile(r"(?<=[0-9)])_\s*\{?\s*\\text\{\s*(?P<name>[a-z]+)\s*\}\s*\}?")


def with_figures(text: str) -> str:
    r"""Return a text with `2.5 million` and the base of `204_{\text{five}}` in figures."""
    if "text{" in text:
        text = _BASE.sub(lambda found: f"_{{{_SMALL[found['name']]}}}" if found["name"] in _SMALL else found[0], text)
    return _SCALED.sub(_multiplied, text) if any(scale in text for scale in _SCALES) else text


def _multiplied(found: re.Match[str]) -> str:
    value = Fraction(found["number"].replace(",", "")) * _SCALES[found["scale"]]
    if value.denominator != 1 or bool(found["end"]) > bool(found["text"]):
        return found[0]
    return f"{value}" if found["end"] or not found["text"] else rf"{value}\text{{"


@lru_cache(maxsize=4_096)
def in_figures(text: str) -> str:
    r"""Return an answer that begins with a number in words with that number in figures; any other as it is.

    `twelve` is `12`, `\text{two thirds}` is `2/3`, `five cm` is `5 cm`, `two boxes` has its words as text; `one or two`
    is two answers, `one-to-one` none.
    """
    marked = _IN_TEXT.fullmatch(text)
    words = f"{marked['inside']} {marked['rest']}".split() if marked else text.split()
    if not words or not " ".join(words[:2]).lower().startswith(_STARTS):
        return text
    pieces: list[str] = []
    value, used = None, 0
    for place, word in enumerate(words):
        parts = word.lower().split("-")
        if not _KNOWN.issuperset(parts):
            break
        pieces += parts
        if (found := _number(pieces)) is not None:
            value, used = found, place + 1
    rest = words[used] if words[used:] else "a"
    if value is None or not (rest[0].isalpha() or rest.startswith((r"\text", r"\%"))) or rest.lower() in _LINKS:
        return text
    if all(word.isalpha() and len(word) > 2 and not is_mathematical_word(word) for word in words[used:]):
        return rf"{value}\text{{ {' '.join(words[used:])}}}" if words[used:] else str(value)
    return " ".join((str(value), *words[used:]))


def _number(words: list[str]) -> Fraction | None:
    """Return the number that all of the words say, or None."""
    if words[0] in _SIGNS:
        value = _number(words[1:]) if words[1:] and words[1] not in _SIGNS else None
        return None if value is None else -value
    if words == ["half"]:
        return Fraction(1, 2)
    if words[-1] in _PARTS:
        return _with_part(words)
    whole = _whole(words) if words != ["a"] else None
    return None if whole is None else Fraction(whole)


def _with_part(words: list[str]) -> Fraction | None:
    """Read `two thirds`, `a half`, `two and a half`; `ten thousandths` and more may be two things."""
    *before, name = words
    count = 1 if before[-1:] == ["a"] else _SMALL.get(before[-1] if before else "", 0)
    if not 0 < count < 10 or (count == 1) == (name.endswith("s") and name != "halves"):
        return None
    part = Fraction(count, _PARTS[name])
    if len(before) == 1:
        return part
    whole = _whole(before[:-2]) if before[-2] == "and" and before[:-2] else None
    return None if whole is None or part >= 1 else whole + part


def _whole(words: list[str]) -> int | None:
    """Return the whole number that the words say: `one hundred and five`, `two thousand twenty-four`."""
    for name, scale in _SCALES.items():
        if name in words:
            place = words.index(name)
            rest = words[place + 1 :]
            high = _whole(words[:place])
            low = _whole(rest[rest[:1] == ["and"] :]) if rest else 0
            if high is None or low is None or not 0 < high < (100 if scale == 100 else 1_000) or low >= scale:
                return None
            return high * scale + low if low or not rest else None
    match words:
        case ["a"]:
            return 1
        case [name]:
            return _SMALL.get(name, _TENS.get(name))
        case [tens, ones] if tens in _TENS and 0 < _SMALL.get(ones, 0) < 10:
            return _TENS[tens] + _SMALL[ones]
    return None
