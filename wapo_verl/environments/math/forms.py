"""Plain numbers as they are written: whole ones, decimals, fractions, powers of ten, digits of another base.

Pure text and exact fractions: it is quick, it never hangs, and the process that trains may call it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

LONGEST_ANSWER = 1_000  # characters; the longest gold answer of MATH-500 has 53
_LONGEST_NUMBER = 300  # characters, and the largest power of ten

_SPACE_NOT_BETWEEN_DIGITS = re.compile(r"(?<![0-9])\s+|\s+(?![0-9])")


def without_spaces(text: str) -> str:
    """Return ``text`` without the spaces that mean nothing: "1 2" stays, it is not "12"."""
    return _SPACE_NOT_BETWEEN_DIGITS.sub("", text)


def is_readable(text: str) -> bool:
    """Tell whether a cleaned answer can be given to a parser: short enough and ASCII.

    Letters and digits of other scripts look like ours and are not: parsers that take them would make `٥` a 5.
    """
    return len(text) <= LONGEST_ANSWER and text.isascii() and text.isprintable()


def is_balanced(text: str) -> bool:
    """Tell whether every brace has its partner, escaped ones left aside."""
    depth = 0
    for token in re.finditer(r"\\.|[{}]", text):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth < 0:
            return False
    return depth == 0


@dataclass(frozen=True, slots=True)
class Number:
    """A number as written: its value, and whether it was written as a decimal, which may be a rounded one."""

    value: Fraction
    decimal: bool


_WHOLE = r"(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[0-9]+)"
_DECIMAL = rf"{_WHOLE}(?:\.[0-9]*)?|\.[0-9]+"
_NUMBER = re.compile(
    rf"(?P<number>{_DECIMAL})(?:(?:\\times|\\cdot)10\^\{{?(?P<power>[+-]?[0-9]+)\}}?|[eE](?P<e>[+-]?[0-9]+))?"
)
_FRACTION = re.compile(
    rf"(?:(?P<whole>{_WHOLE})?\\frac(?:\{{(?P<top>[+-]?{_WHOLE})\}}|(?P<top1>[0-9]))"
    rf"(?:\{{(?P<low>[+-]?{_WHOLE})\}}|(?P<low1>[0-9]))"
    rf"|(?P<top2>{_WHOLE})/(?P<low2>[+-]?{_WHOLE}))"
)  # fmt: skip
_PERIODIC = re.compile(r"(?P<whole>[0-9]+)\.(?P<places>[0-9]*)\\overline\{(?P<period>[0-9]+)\}")
_MIXED = re.compile(rf"(?P<whole>{_WHOLE})\s+(?P<part>{_WHOLE}/{_WHOLE})")


def plain_number(text: str) -> Number | None:
    r"""Return the number that a cleaned text is, or None.

    Whole numbers, decimals, periodic ones, thousands separators, `a/b`, `\frac{a}{b}`, `1 \frac{1}{2}`, `6e-5`,
    `6 \times 10^{-5}`.
    """
    if len(text) > _LONGEST_NUMBER:
        return None
    text = text.strip()
    sign = -1 if text.startswith("-") else 1
    text = text[1:].strip() if text[:1] in ("+", "-") else text
    if mixed := _MIXED.fullmatch(text):
        part = plain_number(mixed["part"])
        return part and Number(sign * (_whole(mixed["whole"]) + part.value), False)
    text = without_spaces(text)
    if match := _NUMBER.fullmatch(text):
        power = int(match["power"] or match["e"] or 0)
        if abs(power) > _LONGEST_NUMBER:
            return None
        value = Fraction(match["number"].replace(",", "").rstrip(".") or "0") * Fraction(10) ** power
        return Number(sign * value, "." in match["number"].rstrip("."))
    if match := _PERIODIC.fullmatch(text):
        fixed, period = match["whole"] + match["places"], match["period"]
        nines = Fraction(int(fixed + period) - int(fixed), 10 ** len(period) - 1)
        return Number(sign * nines / 10 ** len(match["places"]), False)
    if match := _FRACTION.fullmatch(text):
        top = _whole(match["top"] or match["top1"] or match["top2"])
        low = _whole(match["low"] or match["low1"] or match["low2"])
        if low == 0 or (match["whole"] and (top < 0 or low < 0)):
            return None
        return Number(sign * (_whole(match["whole"] or "0") + Fraction(top, low)), False)
    return None


def _whole(text: str) -> int:
    return int(text.replace(",", ""))


TOLERANCE = Fraction(1, 1_000_000)


def same_number(gold: Number, answer: Number) -> bool:
    """Tell whether two numbers are equal; where one is a decimal, to a millionth.

    Where both are below 1, it is a millionth of the larger one.
    """
    if gold.value == answer.value:
        return True
    near = TOLERANCE * min(Fraction(1), max(abs(gold.value), abs(answer.value)))
    return (gold.decimal or answer.decimal) and abs(gold.value - answer.value) <= near


_BASED = re.compile(r"(?P<open>\()?(?P<digits>[0-9A-Z]+)(?(open)\))_\{?(?P<base>[0-9]{1,2})\}?")


def based_numeral(text: str) -> tuple[str, int] | None:
    """Return digits and base of `204_5`; None for anything else."""
    match = _BASED.fullmatch("".join(text.split()))
    return match and (match["digits"], int(match["base"]))


_WRITTEN_DECIMAL = re.compile(
    r"[+-]?[0-9,]*(?:\.(?P<places>[0-9]*))?(?:(?:\\times|\\cdot)10\^\{?(?P<power>[+-]?[0-9]{1,3})\}?)?"
)


def unit_in_last_place(text: str) -> Fraction | None:
    """Return what one more in the last digit of a decimal as written would add; None for anything else."""
    match = _WRITTEN_DECIMAL.fullmatch(without_spaces(text))
    return match and Fraction(10) ** (int(match["power"] or 0) - len(match["places"] or ""))
