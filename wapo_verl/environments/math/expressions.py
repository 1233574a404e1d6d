r"""Single expressions and equations compared: by their trees and values, else by computer algebra.

The gold text is read in its usual way, the answer in each of the two ways of `1/2x` (see ``grammar``). An answer that
is no expression at all is unreadable at once; what this grammar does not know (integrals, functions without a
definition), and values that do not settle the matter, go to computer algebra.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

from wapo_verl.environments.math.equations import AT_MOST, BELOW, EQUALS, UNEQUAL, Relation, same_relation
from wapo_verl.environments.math.grammar import readings
from wapo_verl.environments.math.sameness import distance, expression, same_value
from wapo_verl.environments.math.tokens import Malformed, Unsupported
from wapo_verl.environments.math.trees import Call, Tree, difference, symbols
from wapo_verl.environments.math.values import NoValue, TooLarge
from wapo_verl.environments.math.verdicts import Algebra, Unreadable

_SIGNS = {"=": (EQUALS, False), r"\ne": (UNEQUAL, False), "<": (BELOW, False), ">": (BELOW, True)}
_SIGNS |= {r"\le": (AT_MOST, False), r"\ge": (AT_MOST, True)}


def _gold(text: str) -> Tree | None:
    """Return the usual reading of a gold expression; None where only computer algebra may understand it."""
    try:
        return readings(text)[0]
    except (Malformed, Unsupported):
        return None


def _answers(text: str) -> tuple[Tree, ...] | None:
    """Return the readings of an answer; None where only computer algebra may understand it.

    Raises:
        Unreadable: where it is no expression.
    """
    try:
        return readings(text)
    except Unsupported:
        return None
    except Malformed as error:
        raise Unreadable(text, gold=False) from error


def same(gold: str, answer: str, algebra: Algebra) -> bool:
    """Say whether two single expressions are equal.

    Raises:
        Unreadable: where one of them cannot be read.
    """
    wanted = _gold(gold)
    given = _answers(answer) if wanted is not None else None
    if wanted is None or given is None:
        return algebra(gold, answer)
    verdicts = [same_value(wanted, reading) for reading in given]
    if None in verdicts and True not in verdicts:
        return algebra(gold, answer)
    return True in verdicts


def same_hundredths(gold: str, answer: str, gold_is_percent: bool) -> bool:
    """Say whether two expressions are equal where one is in per cent: 1/2 is 50 %, and where 50 is asked for, 50 % is.

    Raises:
        Unreadable: where one of them cannot be read.
    """
    wanted = _gold(gold)
    given = _answers(answer)
    if wanted is None or given is None:
        raise Unreadable(answer if wanted is not None else gold, gold=wanted is None)
    share = Call("percent", (wanted if gold_is_percent else given[0],))
    pair = (share, given[0]) if gold_is_percent else (wanted, share)
    if same_value(*pair):
        return True
    try:
        asked_for = not symbols(wanted) and abs(expression(wanted).value({}, False)) >= 1
    except (NoValue, TooLarge):
        return False
    return asked_for and same_value(wanted, given[0]) is True


def same_relations(gold: tuple[str, str, str], answer: tuple[str, str, str]) -> bool | None:
    """Say whether two relations, left side, sign and right side of each, are the same; None for computer algebra.

    Raises:
        Unreadable: where a side of the answer cannot be read.
    """
    wanted = _relation(gold[1], _gold(gold[0]), _gold(gold[2]))
    if wanted is None:
        return None
    left, right = _answers(answer[0]), _answers(answer[2])
    given = _relation(answer[1], left[0], right[0]) if left and right else None
    return None if given is None else same_relation(wanted, given)


def _relation(written: str, left: Tree | None, right: Tree | None) -> Relation | None:
    if left is None or right is None or written not in _SIGNS:
        return None
    sign, turned = _SIGNS[written]
    return Relation(right, sign, left) if turned else Relation(left, sign, right)


@lru_cache(maxsize=4_096)
def is_constant(text: str) -> bool:
    """Say whether an expression is a number: it has no variable."""
    tree = _gold(text)
    return tree is not None and not symbols(tree)


def is_below(one: str, other: str) -> bool:
    """Say whether both are numbers, and the first is less than the second."""
    low, high = _gold(one), _gold(other)
    if low is None or high is None or symbols(low) or symbols(high):
        return False
    try:
        found = expression(difference(high, low)).value({}, True)
    except (NoValue, TooLarge):
        return False
    return bool(not found.imag and found.real > 0)


def rounds_to(exact: str, rounded: str, unit_in_last_place: Fraction) -> bool:
    """Say whether a number is no further from another than one unit in the last place that is written."""
    wanted, given = _gold(exact), _gold(rounded)
    if wanted is None or given is None or symbols(wanted) or symbols(given):
        return False
    try:
        off = distance(expression(wanted).value({}, False), expression(given).value({}, False))
    except (NoValue, TooLarge):
        return False
    return bool(off * unit_in_last_place.denominator <= unit_in_last_place.numerator)
