"""The written form of a mathematical answer: cleaned text, plain numbers, and the structure around the expressions.

Pure text, without a computer algebra system: it is quick, it never hangs, and the process that trains may call it.
``wapo_verl.environments.math.equivalence`` compares what comes out of it. Left out: what an expression is worth.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

LONGEST_ANSWER = 1_000  # characters; the longest gold answer of MATH-500 has 53
_LONGEST_NUMBER = 300  # characters, and the largest power of ten

_WRITTEN_AS = {
    **dict.fromkeys("−–—", "-"),
    **dict.fromkeys("\u00a0\u2002\u2003\u2009\u202f\t\n\r", " "),
    **{"×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "π": r"\pi ", "∞": r"\infty ", "°": r"^\circ "},
    **{"≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "±": r"\pm ", "∪": r"\cup ", "∈": r"\in ", "∅": r"\emptyset "},
    **{"½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "θ": r"\theta ", "’": "'"},
    **{sign: f"^{{{power}}}" for power, sign in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
}
_TRANSLATION = str.maketrans(_WRITTEN_AS)
_ROOT = re.compile(r"√\s*(?:\(([^()]*)\)|([0-9]+|[a-zA-Z]))")

_TEXT_COMMAND = re.compile(r"\\(?:mbox|hbox|textbf|textit|textrm|textnormal|textsf|mathrm|operatorname)\s*\{")
_CLEANINGS = (
    (
        re.compile(r"(?:(?<=[1-9])|(?<=[0-9]{2}))(?:,\\!\s*|\{,\}\s*|\\,)(?=[0-9]{3}(?![0-9]))"),
        "",
    ),  # thousands: 10,\!080 10{,}080 10\,080; not 0{,}350
    # What a parser would drop one side of: each is an equation, whose sides are all looked at.
    (re.compile(r"={2,}|\\(?:equiv|approx|simeq|cong|doteq)(?![a-zA-Z])"), "="),
    (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\frac\s*([0-9])\s*([0-9])"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|!|mathbf|boldsymbol|limits)(?![a-zA-Z])"), ""),
    (re.compile(r"(?<!\\)\\[,;: ]|~|\\q?quad(?![a-zA-Z])"), " "),
    (re.compile(r"(?<=[0-9])\}\^\{(?=[0-9])"), ""),  # ²³, a sign a digit
    (re.compile(r"\\leq?s?l?a?n?t?(?![a-zA-Z])"), r"\\le "),
    (re.compile(r"\\geq?s?l?a?n?t?(?![a-zA-Z])"), r"\\ge "),
    (re.compile(r"\\varnothing(?![a-zA-Z])"), r"\\emptyset"),
    (re.compile(r"\\lbrace(?![a-zA-Z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![a-zA-Z])"), r"\\}"),
    (re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-zA-Z]))|\\degree(?![a-zA-Z])"), r"^\\circ"),
    (re.compile(r"(?<!\\)%|\s*\\text\{\s*(?:percent|%)\s*\}|(?<=[0-9} ])\s*percent$"), r"\\%"),
    (re.compile(r"(?<!\\)\\[()\[\]]|\*\*"), " "),
    (re.compile(r"\b([apAP])\.\s?[mM]\b\.?"), r"\1m"),
    (
        re.compile(r"\\mathbb\s*\{?R\}?|\\text\{\s*all real numbers\s*\}|^\s*all real numbers\s*$"),
        r"(-\\infty,\\infty)",
    ),
    (re.compile(r"\s+"), " "),
)
_DOLLARS = re.compile(r"(?<!\\)\$")
_SPACE_NOT_BETWEEN_DIGITS = re.compile(r"(?<![0-9])\s+|\s+(?![0-9])")


def clean(text: str) -> str:
    r"""One way of writing where LaTeX has several: `\dfrac` and `\frac`, `\mbox` and `\text`, `−` and `-`, spacing.

    Signs that switch to mathematics, a box around the whole and a full stop after it are taken off. Characters outside
    ASCII that have no mathematical meaning here stay (see ``is_readable``).
    """
    text = _ROOT.sub(lambda root: rf"\sqrt{{{root[1] or root[2]}}}", text).translate(_TRANSLATION)
    text = _TEXT_COMMAND.sub(lambda _: r"\text{", text)
    for pattern, replacement in _CLEANINGS:
        text = pattern.sub(replacement, text)
    if len(_DOLLARS.findall(text)) % 2 == 0:  # an odd one is money
        text = _DOLLARS.sub(" ", text)
    return _unwrapped(text)


def without_spaces(text: str) -> str:
    """``text`` without the spaces that mean nothing: "1 2" stays, it is not "12"."""
    return _SPACE_NOT_BETWEEN_DIGITS.sub("", text)


def is_readable(text: str) -> bool:
    """Whether a cleaned answer can be given to a parser: short enough and ASCII.

    Letters and digits of other scripts look like ours and are not: parsers that take them would make `٥` a 5.
    """
    return len(text) <= LONGEST_ANSWER and text.isascii() and text.isprintable()


def _unwrapped(text: str) -> str:
    while True:
        before, text = text, text.strip()
        if text.endswith((".", ";", ",")) and not text.endswith("\\,"):
            text = text[:-1].rstrip()
        for box in (r"\boxed{", r"\fbox{"):
            if text.startswith(box) and text.endswith("}") and is_balanced(text[len(box) : -1]):
                text = text[len(box) : -1]
        if text == before:
            return text


def is_balanced(text: str) -> bool:
    """Whether every brace has its partner, escaped ones left aside."""
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
    r"""The number that a cleaned text is, or None.

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
    """Equal; where one is a decimal, to a millionth, and to a millionth of the larger where that is below 1."""
    if gold.value == answer.value:
        return True
    near = TOLERANCE * min(Fraction(1), max(abs(gold.value), abs(answer.value)))
    return (gold.decimal or answer.decimal) and abs(gold.value - answer.value) <= near
