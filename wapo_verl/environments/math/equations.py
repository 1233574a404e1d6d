r"""Whether two equations or inequalities say the same: one is the other multiplied by a number.

`x + y = 5` is `2x + 2y = 10` and `y = 5 - x`, and `2x < 4` is `x < 2`. What is not such a multiple may still have the
same solutions (`xy = 1` and `y = 1/x`): where the gold one is solved for a variable, its solutions are put into the
answer, which refutes it or leaves the matter to computer algebra. Equations of one unknown or none are not left to it:
`x^2+1 = 0` and `x^2+2 = 0` have the same real solutions.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from wapo_verl.environments.math.sameness import (
    Expression,
    close,
    expression,
    has_complex_size,
    points,
    quotient,
    same_value,
    substituted,
)
from wapo_verl.environments.math.trees import Symbol, Tree, difference, shape, symbols
from wapo_verl.environments.math.values import Exhausted, NoValue, TooLarge, Value

EQUALS, UNEQUAL, BELOW, AT_MOST = "=", "!=", "<", "<="


@dataclass(frozen=True, slots=True)
class Relation:
    """Two sides and one of the four signs between them: `a > b` is kept as `b < a`."""

    left: Tree
    sign: str
    right: Tree


def same_relation(gold: Relation, answer: Relation) -> bool | None:
    """Say whether two relations are the same; None where computer algebra must decide."""
    if gold.sign != answer.sign:
        return False
    wanted, given = difference(gold.left, gold.right), difference(answer.left, answer.right)
    unknowns = symbols(wanted) | symbols(given)
    if not unknowns:  # 20\cdot20 = 400: both hold, and say nothing of each other
        return same_value(gold.left, answer.left) and same_value(gold.right, answer.right)
    if has_complex_size(wanted) or has_complex_size(given):
        return shape(wanted) == shape(given)
    ratio = _constant_ratio(wanted, given)
    if ratio is None:
        return None
    if ratio is False:
        return _refuted(gold, given) if gold.sign == EQUALS and len(unknowns) > 1 else False
    if gold.sign in (BELOW, AT_MOST):
        return bool(not ratio.imag and ratio.real > 0)
    # x = 5 is an answer, 2x = 10 is a task.
    return close(abs(ratio), Fraction(1)) if _is_solved_number(gold) else True


def _is_solved_number(relation: Relation) -> bool:
    return isinstance(relation.left, Symbol) and not symbols(relation.right)


def _constant_ratio(gold: Tree, answer: Tree) -> Value | bool | None:
    """Return answer / gold where it is the same number everywhere, False where it is not, None where points lack."""
    wanted, given = expression(gold), expression(answer)
    real = "i" not in wanted.calls | given.calls
    ratio: Value | None = None
    agreed = 0
    for at in points(wanted, given):
        try:
            one, other = wanted.value(at, real), given.value(at, real)
        except Exhausted:
            return None
        except (NoValue, TooLarge):
            continue
        if not one or not other:
            if bool(one) != bool(other):
                return False
            continue
        here = quotient(other, one)
        if ratio is not None and not close(ratio, here):
            return False
        ratio, agreed = here, agreed + 1
    return ratio if agreed > 3 else None


def _refuted(gold: Relation, given: Tree) -> bool | None:
    """Put solutions of the gold equation into the answer's ``left - right``: False where they do not solve it.

    It is False too where there may be none: `x^2+y^2 = -1` and `x^2+y^2 = -2` are the same to computer algebra.
    """
    for name, value in ((gold.left, gold.right), (gold.right, gold.left)):
        if isinstance(name, Symbol) and name.name not in symbols(value):
            solved = expression(substituted(given, name.name, value))
            return _vanishes(solved, points(solved, solved))
    wanted = expression(difference(gold.left, gold.right))
    for name_ in sorted(wanted.symbols):
        if solutions := _solutions(wanted, name_, points(wanted, expression(given))):
            return _vanishes(expression(given), solutions)
    return None if _has_both_signs(wanted) else False


def _has_both_signs(equation: Expression) -> bool:
    signs = set()
    for point in points(equation, equation):
        try:
            value = equation.value(point, True)
        except (NoValue, TooLarge):
            continue
        if not value.imag:
            signs.add(bool(value.real > 0))
    return len(signs) > 1


def _vanishes(equation: Expression, at: list[dict[str, Fraction]]) -> bool | None:
    """Return False where the expression has a value that is not 0 at one of the points."""
    for point in at:
        try:
            if equation.value(point, True):
                return False
        except (NoValue, TooLarge):
            continue
    return None


def _solutions(equation: Expression, name: str, at: list[dict[str, Fraction]]) -> list[dict[str, Fraction]]:
    """Return points at which an expression that is linear in a variable is 0; none where it is not."""
    found = []
    for point in at[:6]:
        try:
            zero, one, two = (equation.value({**point, name: Fraction(value)}, True) for value in (0, 1, 2))
        except (NoValue, TooLarge):
            continue
        if not all(isinstance(value, Fraction) for value in (zero, one, two)) or one == zero or two - one != one - zero:
            return []
        found.append({**point, name: zero / (zero - one)})
    return found
