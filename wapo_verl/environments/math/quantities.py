"""What stands beside a number or an expression: a unit, money, a per cent or degree sign."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from wapo_verl.environments.math.tokens import is_mathematical_word
from wapo_verl.environments.math.units import DEGREE, PERCENT, Unit, is_plain, named, unit

_CHANGING = """
    pi sqrt root sin cos tan cot csc log exp mod inf infinity factorial times over plus minus less more than divided
    by half halves third thirds quarter quarters fourth fourths fifths sixths sevenths eighths ninths tenths
    elevenths twelfths thirteenths fourteenths fifteenths sixteenths seventeenths eighteenths nineteenths twentieths
    thirtieths fortieths fiftieths sixtieths point zero tens hundred hundreds hundredths dozen dozens gross thousand
    thousands thousandths lakh lakhs crore crores million millions millionth millionths billion billions trillion
    trillions negative not no maybe perhaps raised power choose above below under base one two three four five six
    seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty
    forty fifty sixty seventy eighty ninety and or but wrong incorrect false never unless cannot mil mils
    doubled tripled quadrupled halved inverse inverted reciprocal
"""
_NOT_COUNTED = frozenset(_CHANGING.split())
"""Words after a number that change it: they are no names of what is counted."""
_PART = re.compile(
    r"(?:[a-z]+(?:ie|illion|een|sand|dred)|n)ths?|[a-z]*illions?"
    rf"|(?:{'|'.join(sorted(_NOT_COUNTED))})-(?:first|second|third|[a-z]+th|{'|'.join(sorted(_NOT_COUNTED))})s?"
)
"""`billionths`, `sixty-fourths`, `sixty-four`"""
_POWER_WORDS = frozenset(["square", "sq", "squared", "cubic", "cu", "cubed"])
_TEXTS = re.compile(
    r"\s*\\text\{[^{}\\]*\}(?:\s*(?:\^\s*\{?-?[0-9]\}?|/|\\cdot(?![a-zA-Z])|[a-zA-Z]|\\text\{[^{}\\]*\}))*\s*"
)
_BARE_TAIL = re.compile(r"(?<![\\a-zA-Z_^{])[A-Za-z](?:[A-Za-z ./-]|\^\s*\{?-?[0-9]\}?)*$")
_MONEY = {"euro": "euro", "pounds": "sterling", "yen": "yen", "rupee": "rupee"}
_SIGN_BEFORE = re.compile(
    r"(?P<minus>-?)\s*(?:(?:US|A|C)?\s*(?P<dollar>\\?\$)|\\(?P<sign>euro|pounds|yen|rupee)(?![a-zA-Z])"
    r"|\\text\{\s*(?P<text>[A-Za-z]+)\.?\s*\}|(?P<bare>Rs|USD|EUR|GBP|INR|CNY|RMB)\.?)\s*(?P<body>[^$]+)"
)
_SIGN_BEHIND = re.compile(
    r"(?P<body>[^$]*[^\s\\])\s*(?:(?P<dollar>\\?\$)|\\(?P<sign>euro|pounds|yen|rupee))(?:\{\})?\s*"
)
_MONEY_UNITS = frozenset(["dollar", "euro", "sterling", "yen", "rupee", "yuan"])
_ANGLE_FUNCTION = re.compile(r"(?<![a-z])(?:arc)?(?:sin|cos|tan|cot|sec|csc|cis)(?![a-z])")
_SCALE = re.compile(r"(?P<body>.*\S)\s*\^\\circ\s*(?:\\text\{\s*)?(?P<scale>[CF])(?:\s*\})?")
_MOST_WORDS = 8
_IN_BRACKETS = re.compile(r"(?P<body>.*[0-9}!])\s*\((?:\\text\{)?\s*(?P<unit>[A-Za-z][A-Za-z. ]+)\}?\)")
_COUNTABLE = re.compile(r"(?:[0-9)}!]|\\(?:pi|infty)\s|(?<![a-zA-Z])e\s)\s*$")


@dataclass(frozen=True, slots=True)
class Quantity:
    """An expression and the unit beside it, None where there is none."""

    body: str
    unit: Unit | None = None

    @property
    def is_percent(self) -> bool:
        """Whether the body counts hundredths."""
        return self.unit is not None and self.unit.is_only(PERCENT)


@lru_cache(maxsize=4_096)
def quantity(text: str, counted: bool = False, symbols: bool = False) -> Quantity:
    r"""Return the parts of a cleaned answer: `15\text{ cm}^2` is 15 and square centimetres, `\$5` is 5 and dollars.

    Args:
        text: the answer.
        counted: take any words after a space ("15 m", "13 boxes") for a unit too; only where they cannot be variables.
        symbols: where ``counted``, take a single letter ("5 N", "5m") for a unit too; only where one is expected.
    """
    text = text.strip()
    return _money(text) or _with_unit(text, counted, symbols)


def _with_unit(text: str, counted: bool = False, symbols: bool = False) -> Quantity:
    """Read a sign or a unit behind the expression."""
    if text.endswith(r"\%") and text[:-2].strip():
        return Quantity(text[:-2].strip(), named(PERCENT))
    if found := _SCALE.fullmatch(text):
        return Quantity(found["body"], named("celsius" if found["scale"] == "C" else "fahrenheit"))
    if text.endswith(r"^\circ") and text[:-6].strip() and not _ANGLE_FUNCTION.search(text) and text.count("circ") == 1:
        return Quantity(text[:-6].strip(), named(DEGREE))
    if (found := _IN_BRACKETS.fullmatch(text)) and (named_ := unit(found["unit"])) and named_.is_known:
        return Quantity(found["body"], named_)
    return _with_text(text) or _with_bare_words(text, counted, symbols) or Quantity(text)


def is_in_degrees(body: str) -> bool:
    r"""Say whether it is a sum or multiple of degrees, `k\cdot360^\circ+60^\circ`, and no function of any."""
    return r"^\circ" in body and not _ANGLE_FUNCTION.search(body)


def _money(text: str) -> Quantity | None:
    if "$" not in text and "\\" not in text and not text[:1].isalpha():
        return None
    if found := _SIGN_BEFORE.fullmatch(text):
        name = _currency(found)
        if name in _MONEY_UNITS and found["body"].strip():
            return Quantity(found["minus"] + _with_unit(found["body"].strip()).body, named(name))
    if found := _SIGN_BEHIND.fullmatch(text):
        return Quantity(found["body"], named(_currency(found)))
    return None


def _currency(found: re.Match[str]) -> str:
    groups = found.groupdict()
    if groups["dollar"]:
        return "dollar"
    if groups["sign"]:
        return _MONEY[groups["sign"]]
    written = unit(groups["text"] or groups["bare"])
    return written.factors[0][0] if written and written.is_known else ""


def _with_text(text: str) -> Quantity | None:
    r"""Read a unit in `\text{}` behind the expression, with powers, slashes and single letters among such texts."""
    start = text.find(r"\text{")
    if start <= 0 or not text[:start].strip() or not _TEXTS.fullmatch(text, start):
        return None
    words = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text[start:]).replace(r"\cdot", " ")
    letters = re.findall("[a-zA-Z]", re.sub(r"\\text\{[^{}]*\}|\\cdot", " ", text[start:]))
    if not (_leaves_the_number(words) and all((found := unit(letter)) and found.is_known for letter in letters)):
        return None
    body = text[:start].strip()
    inner = (
        quantity(body) if body.endswith((r"^\circ", r"\%", "$")) or body.startswith((r"\$", "$")) else Quantity(body)
    )
    return Quantity(inner.body, inner.unit or unit(words))


def _with_bare_words(text: str, counted: bool, symbols: bool) -> Quantity | None:
    """Read a unit that stands in letters behind the expression, after the last word that is none."""
    tail = _BARE_TAIL.search(text)
    if tail is None:
        return None
    starts = [word.start() for word in re.finditer(r"(?<![A-Za-z^{-])[A-Za-z]", text[tail.start() :])]
    for place in starts[-_MOST_WORDS:]:
        start = tail.start() + place
        body, words = text[:start], text[start:]
        if body.strip() and _is_unit(words, body, counted, symbols):
            return Quantity(body.strip(), unit(words))
    return None


def _is_unit(words: str, body: str, counted: bool, symbols: bool) -> bool:
    found = unit(words)
    spaced = body[-1:].isspace()
    if found is None or words.count("{") != words.count("}") or not _leaves_the_number(words):
        return False
    if found.is_known:
        if is_plain(words) and (_COUNTABLE.search(body) or spaced):
            return True
        meant = spaced or symbols or "^" in words
        return counted and meant and (symbols or words[:1].islower()) and _COUNTABLE.search(body) is not None
    names = re.findall("[A-Za-z]+", words)
    if any(is_mathematical_word(name) or (len(name) == 1 and name != "a") for name in names):
        return False
    return counted and spaced and len(names[0]) > 2 and "^" not in words


def _leaves_the_number(words: str) -> bool:
    """Say whether none of the words changes the number; "square" may stand with a unit of the table alone."""
    found = re.findall(r"[a-z]+(?:-[a-z]+)*", words.lower())
    if any(map(_PART.fullmatch, found)):
        return False
    known = unit(words)
    return _NOT_COUNTED.isdisjoint(found) and ((known is not None and known.is_known) or _POWER_WORDS.isdisjoint(found))
