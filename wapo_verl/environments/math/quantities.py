"""What stands beside a number: a unit, a per cent or degree sign, a base; and answers that are words or a letter.

The table of units is for telling that two differ, not for converting: 5 cm is neither 5 m nor 50 mm here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PERCENT, DEGREE = "percent", "degree"

_UNITS = {
    "inch": "inch inches in", "foot": "foot feet ft", "yard": "yard yd", "mile": "mile mi",
    "mm": "millimeter millimetre mm", "cm": "centimeter centimetre cm", "m": "meter metre m",
    "km": "kilometer kilometre km", "second": "second sec s", "minute": "minute min", "hour": "hour hr h",
    "day": "day", "week": "week", "month": "month", "year": "year yr", "g": "gram g", "kg": "kilogram kg",
    "pound": "pound lb", "ounce": "ounce oz", "liter": "liter litre l", "ml": "milliliter millilitre ml",
    "gallon": "gallon gal", "am": "am", "pm": "pm", "mph": "mph miles/hour",
    "dollar": "dollar usd", "cent": "cent", "euro": "euro",
    DEGREE: "degree deg", "radian": "radian rad", PERCENT: "percent",
}  # fmt: skip
_NAMES = {name: unit for unit, names in _UNITS.items() for name in names.split()}
_POWERS = {"square": "2", "sq": "2", "squared": "2", "cubic": "3", "cu": "3", "cubed": "3"}

_CHANGING = """
    pi sqrt root sin cos tan cot sec csc log exp mod inf infinity factorial times over plus minus less more than divided
    by half halves third thirds quarter quarters fourth fourths fifths sixths eighths tenths tens hundred hundreds
    hundredths dozen dozens gross thousand thousands thousandths lakh lakhs crore crores million millions millionth
    millionths billion billions trillion trillions negative not no maybe perhaps raised power choose above below under
    base percent one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety
"""
_NOT_COUNTED = frozenset(_CHANGING.split())
"""Words after a number that change it: they are no names of what is counted."""
_WORDS = r"[a-zA-Z][a-zA-Z./ -]*"
_TEXT_UNIT = re.compile(
    rf"(?P<body>.*\S)\s*\\text\{{\s*(?P<unit>{_WORDS}?)\s*\}}\s*(?:\^\{{?(?P<power>[23])\}}?)?", re.DOTALL
)
_BARE_UNIT = re.compile(
    r"(?P<body>.*[0-9})])(?P<space>\s*)(?P<unit>[a-zA-Z]+(?:[ /][a-zA-Z.]+)*)\.?\s*(?:\^\{?(?P<power>[23])\}?)?",
    re.DOTALL,
)
_ANGLE_FUNCTION = re.compile(r"\\(?:arc)?(?:sin|cos|tan|cot|sec|csc)(?![a-z])")


@dataclass(frozen=True, slots=True)
class Quantity:
    """An expression and the unit beside it: a name of the table with its power, "?" for other words, "" for none."""

    body: str
    unit: str = ""


def quantity(text: str, counted: bool = False) -> Quantity:
    r"""The parts of a cleaned answer: `15\text{ cm}^2` is 15 and "cm2", `\$5` is 5 and "dollar", `5\%` 5 and "percent".

    Args:
        counted: take any words after a space ("15 m", "13 boxes") for a unit too; only where they cannot be variables.
    """
    text = text.strip()
    if found := re.fullmatch(r"(-?)\s*\\?\$\s*([^$]+)", text):
        return Quantity(found[1] + quantity(found[2], counted).body, "dollar")
    if text.endswith(r"\%") and text[:-2].strip():
        return Quantity(text[:-2].strip(), PERCENT)
    if text.endswith(r"^\circ") and text[:-6].strip() and not _ANGLE_FUNCTION.search(text):
        return Quantity(text[:-6].strip(), DEGREE)
    if (found := _TEXT_UNIT.fullmatch(text)) and _leaves_the_number(found["unit"]):
        inner = quantity(found["body"]) if found["body"].endswith(r"^\circ") else Quantity(found["body"])
        return Quantity(inner.body, inner.unit or _unit(found["unit"], found["power"]))
    if found := _BARE_UNIT.fullmatch(text):
        unit = _unit(found["unit"], found["power"])
        known = unit != "?" and (len(found["unit"]) > 1 or (counted and found["space"]))
        if known or (counted and found["space"] and _are_names(found["unit"])):
            return Quantity(found["body"].strip(), unit)
    return Quantity(text)


def _are_names(words: str) -> bool:
    """Whether words can say what is counted: the first has three letters or more, and none changes the number."""
    return len(words.split()[0]) > 2 and _leaves_the_number(words)


def _leaves_the_number(words: str) -> bool:
    """Whether none of the words changes the number before them; "square" may stand with a unit of the table alone."""
    found = re.split(r"[ ./]+", words.lower())
    return _NOT_COUNTED.isdisjoint(found) and (_unit(words, None) != "?" or not _POWERS.keys() & set(found))


def units_differ(gold: Quantity, answer: Quantity) -> bool:
    """Whether both have a unit of the table and not the same one; a unit that is left out is no contradiction."""
    return "" != gold.unit != answer.unit != "" and "?" not in (gold.unit, answer.unit)


def _unit(words: str, power: str | None) -> str:
    """The table's name for ``words`` with its power, "?" where it has none."""
    found, powers = [], [power] if power else []
    for word in words.lower().replace(".", " ").replace("miles per hour", "mph").split():
        if word in _POWERS:
            powers.append(_POWERS[word])
        else:
            found.append(_NAMES.get(word) or _NAMES.get(word.removesuffix("s"), "?"))
    return found[0] + "".join(powers) if len(found) == 1 and found[0] != "?" and len(powers) < 2 else "?"


_CHOICE = re.compile(
    r"\\text\{\s*\(?(?P<text>[A-Za-z])\)?\.?\s*\}|\((?:\\text\{)?(?P<brackets>[A-Za-z])\}?\)|(?P<bare>[A-Z])"
)
_ALL_TEXT = re.compile(r"\\text\{(?P<inside>[^{}\\]*)\}")
_BARE_WORDS = re.compile(r"(?=.*[A-Za-z]{3})[A-Za-z]+(?:[ -][A-Za-z]+)*")
_BASED = re.compile(r"(?P<digits>[0-9A-Z]+)_\{?(?P<base>[0-9]{1,2})\}?")


def choice(text: str) -> tuple[str, bool] | None:
    r"""The letter of a multiple choice answer, `\text{(C)}`, `(C)` or `C`, and whether the writing leaves no doubt."""
    match = _CHOICE.fullmatch(text.strip())
    return match and (str(match[match.lastgroup or 0]).upper(), match["bare"] is None)


def words(text: str) -> str | None:
    r"""The words of an answer that is nothing else, `\text{Evelyn}` or three bare letters and more; small letters."""
    match = _ALL_TEXT.fullmatch(text.strip())
    found = match["inside"] if match else text
    plain = re.fullmatch(_BARE_WORDS if not match else r"[^0-9]*[A-Za-z][^0-9]*", found.strip().rstrip("."))
    return " ".join(found.lower().rstrip(". ").split()) if plain else None


def in_text(text: str) -> str | None:
    r"""What stands in a `\text{}` that is the whole answer."""
    match = _ALL_TEXT.fullmatch(text.strip())
    return match and match["inside"].strip()


def based_numeral(text: str) -> tuple[str, int] | None:
    """Digits and base of `204_5`; None for anything else."""
    match = _BASED.fullmatch("".join(text.split()))
    return match and (match["digits"], int(match["base"]))
