r"""Numbers and single expressions with what stands beside them compared: units, per cent, bases, times of day."""

from __future__ import annotations

import re

from wapo_verl.environments.math import expressions
from wapo_verl.environments.math.forms import based_numeral, plain_number, same_number, without_spaces
from wapo_verl.environments.math.quantities import Quantity, is_in_degrees, quantity
from wapo_verl.environments.math.units import DEGREE, named, units_differ
from wapo_verl.environments.math.verdicts import Algebra


def same_amount(gold: str, answer: str, algebra: Algebra) -> bool:
    """Say whether two pieces without any relation in them mean the same, gold first.

    Raises:
        Unreadable: where one of them cannot be read.
    """
    wanted = quantity(gold)
    counted = plain_number(wanted.body) is not None or expressions.is_constant(wanted.body)
    given = quantity(answer, counted=counted, symbols=wanted.unit is not None)
    if any(side.unit == named(DEGREE) for side in (wanted, given)) and r"^\circ" in wanted.body + given.body:
        wanted, given = Quantity(gold), Quantity(answer)  # k\cdot180^\circ and 180^\circ k
    if units_differ(wanted.unit, given.unit) or is_in_degrees(wanted.body) != is_in_degrees(given.body):
        return False
    if _is_time(wanted) or _is_time(given):
        return without_spaces(wanted.body) == without_spaces(given.body)
    if wanted.is_percent != given.is_percent:
        return _same_hundredths(wanted, given)
    one, other = plain_number(wanted.body), plain_number(given.body)
    if one and other:
        return same_number(one, other)
    if based_numeral(wanted.body) or based_numeral(given.body):
        return _same_numeral(wanted.body, given.body)
    if without_spaces(wanted.body) == without_spaces(given.body):
        return True
    return expressions.same(wanted.body, given.body, by_algebra(algebra))


def _is_time(value: Quantity) -> bool:
    """Say whether it is a time of day: 6:30 pm is not 12:60 pm."""
    return ":" in value.body and value.unit is not None and (value.unit.is_only("am") or value.unit.is_only("pm"))


def _same_hundredths(gold: Quantity, answer: Quantity) -> bool:
    r"""Compare where one is in per cent: `50\%` is 1/2, and it is 50 where the gold is a number of at least 1."""
    wanted, given = plain_number(gold.body), plain_number(answer.body)
    if not (wanted and given):
        return expressions.same_hundredths(gold.body, answer.body, gold.is_percent)
    hundredth, whole = (wanted, given) if gold.is_percent else (given, wanted)
    asked_for = abs(wanted.value) >= 1 and same_number(wanted, given)
    return asked_for or hundredth.value / 100 == whole.value


def _same_numeral(gold: str, answer: str) -> bool:
    wanted, given = based_numeral(gold), based_numeral(answer)
    if wanted and given:
        return wanted == given
    if wanted:
        return wanted[0] == answer.strip()
    return given is not None and given[1] == 10 and given[0] == gold.strip()


_COMMAND = re.compile(r"\\text\{[^{}]*\}|\\[a-zA-Z]+")


def by_algebra(algebra: Algebra) -> Algebra:
    """Return the algebra behind a look at the letters: small and capital ones are the same to it."""

    def judged(gold: str, answer: str) -> bool:
        wanted, given = _letters(gold), _letters(answer)
        by_case = wanted != given and {letter.lower() for letter in wanted} == {letter.lower() for letter in given}
        return not by_case and algebra(gold, answer)

    return judged


def _letters(text: str) -> set[str]:
    """Return the letters that are variables: those outside commands and text."""
    return set(re.findall("[a-zA-Z]", _COMMAND.sub(" ", text)))
