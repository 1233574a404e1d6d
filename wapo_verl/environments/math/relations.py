r"""Equations and inequalities as text: their sides, and the names that may stand on the left.

A left side is passed over where it only names what is asked for. Of an answer `L = 5` that may be anything without
numbers of its own (`f(3)`, `\frac ab`, `a + b`): `2x + 3 = 5` is a task, not an answer. Of a gold one it must name one
thing (`|AB|`, `m_{\max}`, `f(x)`): `x + y = 5` is a relation, for which 5 is no answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

EQUAL_TO, APPROXIMATELY = "=", r"\approx"
_SIGN = re.compile(
    r"(?P<sign>\\(?:le|ge|ne|approx)(?![a-zA-Z])|<=|>=|(?<![<>!:=\\])=(?!=|>)|<|>)|(?P<open>\\?[({\[]|\\begin)"
    r"|(?P<close>\\?[)}\]]|\\end)|\\."
)
_CUT_OFF = re.compile(r"^\s*(?:[<>]|\\(?:le|ge|ne)(?![a-z]))|(?:[<>]|\\(?:le|ge|ne))\s*$")
_SIGNS = {"<=": r"\le", ">=": r"\ge"}


@dataclass(frozen=True, slots=True)
class Sides:
    """What stands between the signs of a relation; one piece and no sign where there is none."""

    pieces: tuple[str, ...]
    signs: tuple[str, ...]

    def only(self, sign: str) -> bool:
        """Say whether there are signs, all of them this one."""
        return bool(self.signs) and set(self.signs) == {sign}


@lru_cache(maxsize=4_096)
def sides(text: str) -> Sides:
    r"""Return the sides of a cleaned text, cut at `=`, `\approx`, `<`, `\le`, `\ne` and the like outside brackets."""
    pieces, signs, depth, start = [], [], 0, 0
    for match in _SIGN.finditer(text):
        if match["open"]:
            depth += 1
        elif match["close"]:
            depth -= 1
        elif match["sign"] and depth == 0:
            pieces.append(text[start : match.start()].strip())
            signs.append(_SIGNS.get(match[0], match[0]))
            start = match.end()
    pieces.append(text[start:].strip())
    if signs and not pieces[0]:  # "= 5", "approximately 5"
        pieces, signs = pieces[1:], signs[1:]
    if depth or not all(pieces):
        return Sides((text,), ())
    return Sides(tuple(pieces), tuple(signs))


_GREEK_OR_LETTER = r"(?:[a-zA-Z]|\\(?!(?:pi|infty|frac|sqrt|text|in|le|ge|ne|cdot|times|pm)(?![a-zA-Z]))[a-zA-Z]+)"
_BELOW = r"(?:_(?:\{(?:[^{}]|\{[^{}]*\})*\}|\\text\{[^{}]*\}|\\?[0-9a-zA-Z]+))"
_MARKED = (
    r"\\(?:overline|vec|hat|bar|tilde|widehat|widetilde|overrightarrow|overleftrightarrow|dot|ddot|mathcal|mathbb|mathbf"
    r"|mathscr|mathfrak|text)\s*(?:\{[^{}]*\}|[a-zA-Z])"
)
_OF_IT = r"(?:\((?:[^()]|\([^()]*\))*\)|\[[^\[\]]*\])"
_ONE = (
    rf"(?:(?:m\s*)?\\(?:angle|triangle|measuredangle)\s*(?:[A-Z]{{1,4}}|\\[a-z]+|[a-z]|{_MARKED})|[A-Z]{{2,4}}|{_MARKED}"
    rf"|{_GREEK_OR_LETTER})(?:'|{_BELOW}|\^\{{?(?:\*|\\prime|'|-1|\([a-z0-9]\))\}}?)*\s*{_OF_IT}?"
)
_SPAN = r"(?:\d?d(?:\^\{?\d\}?)?\s*[a-zA-Z]?|\\partial(?:\^\{?\d\}?)?\s*[a-zA-Z]?)"
_ONE_THING = re.compile(
    rf"\s*(?:{_ONE}|\|\s*{_ONE}\s*\||\\[lr]?vert\s*{_ONE}\s*\\[lr]?vert|\\\|\s*{_ONE}\s*\\\||\[[A-Z]{{3,6}}\]"
    rf"|\\frac\s*\{{\s*{_SPAN}\s*\}}\s*\{{\s*{_SPAN}(?:\^\{{?\d\}}?)?\s*\}}|\\frac\s*\{{\s*[A-Z]{{2}}\s*\}}\s*\{{\s*[A-Z]{{2}}\s*\}}"
    rf"|\\?(?:sin|cos|tan|cot|sec|csc)(?![a-z])\s*{_ONE}|\\(?:max|min|deg|dim|det|gcd|lcm|Pr|arg|lim)(?![a-z])\s*{_BELOW}?\s*(?:{_ONE}|{_OF_IT})"
    rf"|[A-Za-z]{{3,}}(?:\s+[A-Za-z]+)*)\s*"
)
"""A gold equation's left side for which its right side alone is as good an answer."""
_DIGITS_OF_A_NAME = re.compile(
    rf"{_BELOW}|\^\s*(?:\{{[0-9()'*-]+\}}|[0-9])|(?<=[fghFGHPETpSVA])'*\s*{_OF_IT}"
    r"|(?<=[a-zA-Z}'])\s*\((?:[0-9\s,./+-]|\\(?:frac|sqrt|pi)(?![a-z])|[{}])*\)|\\text\{[^{}]*\}"
)
_COMMAND = re.compile(r"\\[a-zA-Z]+")


def lacks_a_side(text: str) -> bool:
    """Say whether an inequality begins or ends with its sign: `> 5`."""
    return _CUT_OFF.search(text) is not None


def names_one_thing(text: str) -> bool:
    """Say whether a gold equation's left side names one thing: a variable, `f(x)`, `AB`, not `x + y`."""
    return _ONE_THING.fullmatch(text) is not None


def is_name(text: str) -> bool:
    r"""Say whether an answer's left side names what was asked for: `x`, `f(3)`, `a_1`, `\frac ab`, `|AB|`, `a+b`.

    Not so for one with numbers of its own, nor for a root or a negative of a single unknown, which asks to be solved.
    """
    rest = _DIGITS_OF_A_NAME.sub("", text)
    letters = set(re.findall("[a-zA-Z]", _COMMAND.sub(" ", rest)))
    named = bool(re.search(r"[a-zA-Z]", rest.replace(r"\frac", "").replace(r"\sqrt", ""))) or r"\text{" in text
    if not named or rest.count("|") % 2 or re.search(r"[0-9]|\\(?:pi|infty|mid)(?![a-z])", rest):
        return False
    return len(letters) > 1 or not (r"\sqrt" in rest or rest.lstrip().startswith("-") or "!" in rest)


@lru_cache(maxsize=4_096)
def same_name(one: str, other: str) -> bool:
    r"""Say whether two left sides name the same: `|AB|`, `AB` and `\overline{AB}`, `x_1` and `x_{1}`."""
    return _bare_name(one) == _bare_name(other)


def _bare_name(text: str) -> str:
    text = re.sub(
        r"\\(?:overline|vec|mathbf|text|operatorname|mathrm)(?![a-zA-Z])|\\[lr]?vert|[|\s{}]|\bm(?=\\angle)", "", text
    )
    return text
