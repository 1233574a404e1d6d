r"""Units: what is counted or measured, read from words and powers: `square feet`, `cm^3`, `km/h`, `miles per hour`.

The table is for telling that two units differ, not for converting: 5 cm is neither 5 m nor 50 mm here. Words that are
not in it ("boxes") are what is counted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

PERCENT, DEGREE = "percent", "degree"

_UNITS = {
    "inch": "inch inches in", "foot": "foot feet ft", "yard": "yard yd", "mile": "mile mi", "furlong": "furlong",
    "league": "league", "light-year": "light-year lightyear ly", "parsec": "parsec pc", "angstrom": "angstrom",
    "minute": "minute min", "hour": "hour hr h", "day": "day", "week": "week", "fortnight": "fortnight",
    "month": "month mo", "year": "year yr", "decade": "decade", "century": "century centuries",
    "pound": "pound", "lb": "lb", "ounce": "ounce oz",
    "ton": "ton", "tonne": "tonne", "stone": "stone", "grain": "grain",
    "gallon": "gallon gal", "quart": "quart qt", "pint": "pint pt", "cup": "cup", "teaspoon": "teaspoon tsp",
    "tablespoon": "tablespoon tbsp", "barrel": "barrel bbl", "acre": "acre", "hectare": "hectare ha",
    "am": "am", "pm": "pm", "mph": "mph", "knot": "knot kn", "rpm": "rpm", "calorie": "calorie cal kcal",
    "dollar": "dollar usd buck", "cent": "cent", "euro": "euro eur",
    "sterling": "sterling gbp quid", "penny": "penny pennies pence",
    "rupee": "rupee rs inr", "yen": "yen jpy", "yuan": "yuan rmb cny", "ruble": "ruble rub rouble", "won": "won krw",
    "peso": "peso", "franc": "franc chf", "horsepower": "horsepower hp", "electronvolt": "electronvolt ev",
    "atmosphere": "atmosphere atm", "psi": "psi", "unit": "unit", "dozen": "doz",
    DEGREE: "degree deg", "radian": "radian rad", "arcminute": "arcminute", "arcsecond": "arcsecond",
    "celsius": "celsius", "fahrenheit": "fahrenheit", PERCENT: "percent percentage pct",
}  # fmt: skip
_METRIC = {
    "m": "meter metre m", "g": "gram gramme g gm", "second": "second sec s", "liter": "liter litre l", "watt": "watt w",
    "joule": "joule j", "newton": "newton n", "volt": "volt v", "ampere": "ampere amp", "ohm": "ohm",
    "hertz": "hertz hz",
    "pascal": "pascal pa", "kelvin": "kelvin k", "mole": "mole mol", "byte": "byte", "bit": "bit", "coulomb": "coulomb",
    "farad": "farad", "bar": "bar", "watthour": "watthour wh",
}  # fmt: skip
_PREFIXES = {
    "pico": "p", "nano": "n", "micro": "u", "milli": "m", "centi": "c", "deci": "d", "deca": "", "hecto": "",
    "kilo": "k", "mega": "M", "giga": "G", "tera": "T",
}  # fmt: skip
_SMALL_NAMES = "m g second liter joule watt newton volt pascal hertz byte bit watthour mole"
_SMALL = frozenset(_SMALL_NAMES.split())
"""Metric units whose short names are written behind a prefix's letter."""


def _table() -> dict[str, str]:
    names = {name: unit for unit, written in _UNITS.items() for name in written.split()}
    for unit, written in _METRIC.items():
        for name in written.split():
            names.setdefault(name, unit)
            for prefix, letter in _PREFIXES.items():
                if len(name) > 3:
                    names.setdefault(prefix + name, prefix + unit)
                elif letter and unit in _SMALL:
                    names.setdefault((letter + name).lower(), prefix + unit)
    return names


_NAMES = _table()
_PLAIN_NAMES = "in ft yd mi mm cm dm km kg mg ml hr yr lb oz am pm"
_PLAIN = frozenset(_PLAIN_NAMES.split())
"""Short names that are units wherever they follow a number."""
_POWERS = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cu": 3, "cubed": 3}
_SAYS_NOTHING_NAMES = "the a an of in is was each all total altogether exactly only on at to for both long"
_SAYS_NOTHING = frozenset(_SAYS_NOTHING_NAMES.split())
_KILOMETERS_PER_HOUR = re.compile(r"\bkm?ph\b|\bkmh\b", re.IGNORECASE)
_PIECE = re.compile(r"(?P<word>[a-zA-Z]+(?:-[a-zA-Z]+)*)|\^\s*\{?\s*(?P<power>-?[0-9])\s*\}?|(?P<per>/)")


@dataclass(frozen=True, slots=True)
class Unit:
    """What stands beside a number.

    Attributes:
        factors: names of the table with their powers, sorted.
        stems: the words' stems, names of the table in place of their synonyms.
        is_known: whether it is a unit of the table and nothing else.
    """

    factors: tuple[tuple[str, int], ...] = ()
    stems: frozenset[str] = frozenset()
    is_known: bool = False

    def is_only(self, name: str) -> bool:
        """Say whether it is this unit of the table, to the first power."""
        return self.is_known and self.factors == ((name, 1),)


def named(name: str) -> Unit:
    """Return a unit of the table."""
    return Unit(((name, 1),), frozenset((name,)), True)


@lru_cache(maxsize=4_096)
def unit(words: str) -> Unit | None:
    """Return the unit that words, powers and slashes say; None where there is no word."""
    factors: dict[str, int] = {}
    stems: set[str] = set()
    power, sign, last, known = 1, 1, "", True
    for piece in _PIECE.finditer(_KILOMETERS_PER_HOUR.sub("km/h", words.replace(".", " "))):
        if piece["per"] or piece["word"] == "per":
            sign = -1
        elif piece["power"]:
            if last:
                factors[last] = factors[last] * int(piece["power"])
        elif (word := piece["word"].lower()) in _POWERS:
            if word.endswith("d") and last:
                factors[last] *= _POWERS[word]
            else:
                power = _POWERS[word]
        elif name := _name(piece["word"]):
            factors[name] = factors.get(name, 0) + sign * power
            stems.add(name)
            last, power = name, 1
        elif word not in _SAYS_NOTHING:
            stems.add(_stem(word) or word)
            known, last = False, ""
    if not stems:
        return None
    if factors.keys() == {"mile", "hour"}:
        factors = {"mph": factors["mile"]}
    return Unit(tuple(sorted(factors.items())), frozenset(stems), known and power == 1)


def _stem(word: str) -> str:
    """Return a word without its plural: boxes is box, cities is city is citi."""
    stem = word.rstrip("s").removesuffix("e").rstrip("s")
    return stem[:-1] + "i" if stem.endswith("y") else stem


def is_plain(words: str) -> bool:
    """Say whether each word is a unit's name that letters multiplied would hardly be: `cm`, `feet`, not `mn`."""
    names = [name.lower() for name in re.findall("[a-zA-Z]+", words)]
    return all(len(name) > 2 or name in _PLAIN or name in _POWERS for name in names)


def _name(word: str) -> str | None:
    if len(word) == 1 and word not in "mgshlLNJWVK":
        return None
    word = word.lower()
    return _NAMES.get(word) or _NAMES.get(word.removesuffix("s")) or _NAMES.get(word.replace("-", ""))


Factors = tuple[tuple[str, int], ...]
_POUNDS: tuple[Factors, Factors] = ((("pound", 1),), (("sterling", 1),))


def _measure_alike(gold: Factors, answer: Factors) -> bool:
    """Say whether two known units are the same; pounds are a weight (lb) or money."""
    one, other = (sorted(("pound" if name == "lb" else name, power) for name, power in side) for side in (gold, answer))
    return one == other or (gold, answer) in (_POUNDS, _POUNDS[::-1])


def units_differ(gold: Unit | None, answer: Unit | None) -> bool:
    """Say whether both have a unit and the answer's is another; one that is left out is no contradiction.

    "units" stands for any unit, so it differs by its power alone. What is counted differs where no word is shared.
    """
    if gold is None or answer is None:
        return False
    if gold.is_known and answer.is_known:
        if "unit" in gold.stems | answer.stems:
            return sum(power for _, power in gold.factors) != sum(power for _, power in answer.factors)
        return not _measure_alike(gold.factors, answer.factors)
    if any(len(stem) == 1 for stem in answer.stems - gold.stems):  # a variable
        return True
    powers = dict(answer.factors)
    return gold.stems.isdisjoint(answer.stems) or any(powers.get(name, power) != power for name, power in gold.factors)
