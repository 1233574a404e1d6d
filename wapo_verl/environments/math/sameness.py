r"""Whether two expressions are equal, by their values: exact fractions, or 50 digits at points chosen by chance.

A wrong answer differs at the first point, which is some hundred times cheaper than computer algebra; a right one agrees
at all of them. What is not settled here (``None``) is for computer algebra: values that cost too much, terms that
cancel to hundreds of digits, expressions without enough points at which both have a value.

Values are compared where both are real, if one of the two says `i` they are compared as complex ones. A root of a
product is a product of roots wherever both are real, so variables under roots count as positive, and where two of them
are negative, roots of products are taken factor by factor (`\sqrt{a/b}` and `\sqrt{ab}/b`); `\sqrt{x^2}` is not x, as x
may be negative. A logarithm is not moved so freely: `\ln x^2` has values that `2\ln x` lacks.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any

from wapo_verl.environments.math.folding import same_when_folded
from wapo_verl.environments.math.forms import TOLERANCE
from wapo_verl.environments.math.trees import Call, Number, Symbol, Tree, calls, has_decimal, nodes, shape, symbols
from wapo_verl.environments.math.values import Exhausted, NotReal, NoValue, TooLarge, Value, context, evaluate

_PRECISIONS = ((30, 80), (80, 240))
_AGREE = 50
"""Digits to which equal values agree; each is computed to 80, of which 60 at least are right."""
_SMALLEST, _LARGEST = -100_000, 84
"""Powers of two between which numbers that agree to 50 digits are equal: `e^{1000}` is not `e^{1000}+1`."""
_ENOUGH = 4
"""Points at which both have a value and agree, before two expressions count as equal."""
_LOGARITHMS = frozenset(("ln", "log"))
_BREAKS = frozenset(("abs", "floor", "ceil", "sgn", "max", "min", "root"))
"""Functions that make an expression behave otherwise beyond some point: more points are looked at."""
_SIZES = (
    *((1, 3), (0.05, 0.9), (3, 9), (0.1, 0.5), (20, 90), (2, 7), (0.1, 0.9)),
    *((0.2, 2), (0.1, 0.9), (1, 40), (0.05, 0.6), (30, 99), (0.1, 0.9), (1, 3)),
)
_FAR = ((1e3, 9e3), (1e5, 9e5), (1e3, 9e3), (1e6, 9e6), (1e3, 9e4), (1e6, 9e6))


@dataclass(frozen=True)
class Expression:
    """A tree with what is asked of it again and again; its values are kept."""

    tree: Tree
    _kept: dict[object, Value | ArithmeticError] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def symbols(self) -> frozenset[str]:
        """The names of the variables."""
        return symbols(self.tree)

    @cached_property
    def calls(self) -> frozenset[str]:
        """The names of the operations, functions and constants."""
        return calls(self.tree)

    @cached_property
    def decimal(self) -> bool:
        """Whether a number of it may be a rounded one."""
        return has_decimal(self.tree)

    @cached_property
    def literals(self) -> frozenset[Fraction]:
        """The numbers in it, by their size."""
        return frozenset(abs(node.value) for node in nodes(self.tree) if isinstance(node, Number))

    def value(self, at: Mapping[str, Fraction], real: bool) -> Value:
        """Return the value: a ``Fraction``, or a number of which 60 digits are right; 0 where all digits cancel.

        Raises:
            NoValue: where there is none.
            TooLarge: where it costs too much, or digits cancel that cannot be told from a zero.
        """
        key = (real, *((name, at[name]) for name in sorted(self.symbols)))
        if key not in self._kept:
            try:
                self._kept[key] = _reliable(self.tree, at, real)
            except (NoValue, TooLarge) as error:
                self._kept[key] = error
        found = self._kept[key]
        if isinstance(found, NoValue | TooLarge):
            raise found
        return found


@lru_cache(maxsize=1_024)
def expression(tree: Tree) -> Expression:
    """Return the expression of a tree, the same one each time, with the values that it has kept."""
    return Expression(tree)


def _reliable(tree: Tree, at: Mapping[str, Fraction], real: bool) -> Value:
    for low, high in _PRECISIONS:
        rough = evaluate(tree, at, low, real)
        if isinstance(rough, Fraction):
            return rough
        fine = evaluate(tree, at, high, real)
        numbers = context(high)
        if isinstance(fine, Fraction) or not fine:
            return fine
        off = abs(numbers.convert(rough) - fine)
        if off <= abs(fine) * numbers.mpf(10) ** (15 - low):
            return fine
        if abs(fine) <= abs(numbers.convert(rough)) * numbers.mpf(10) ** (low - high + 15):
            return Fraction(0)
    raise TooLarge("digits that cancel")


def same_value(gold: Tree, answer: Tree) -> bool | None:
    """Say whether two expressions are equal; None where their values do not settle it."""
    if shape(gold) == shape(answer):
        return True
    wanted, given = expression(gold), expression(answer)
    if "infinity" in wanted.calls | given.calls:
        return False if _is_infinite(gold) or _is_infinite(answer) else None
    if has_complex_size(gold) or has_complex_size(answer):
        return False
    try:
        if wanted.symbols or given.symbols:
            return _same_function(wanted, given)
        return same_constant(wanted, given)
    except (NoValue, TooLarge):
        return same_when_folded(gold, answer)


def has_complex_size(tree: Tree) -> bool:
    """Say whether an absolute value may be one of a complex variable: `|z-i|` is `|z+i|` at all real points."""
    sizes = [node for node in nodes(tree) if isinstance(node, Call) and node.name == "abs"]
    return any("i" in calls(size) and symbols(size) for size in sizes)


def _is_infinite(tree: Tree) -> bool:
    """Say whether a tree is infinity itself, with either sign, or no expression of it at all."""
    rest = tree.arguments[-1] if isinstance(tree, Call) and tree.name == "multiply" else tree
    return rest == Call("infinity")


def same_constant(gold: Expression, answer: Expression) -> bool:
    """Say whether two expressions without variables are equal; where one is a decimal, to a millionth of the gold one.

    Raises:
        NoValue, TooLarge: see ``Expression.value``.
    """
    wanted, given = _both(gold.value({}, False), answer.value({}, False))
    if close(wanted, given):
        if _is_beyond_its_digits(wanted):
            raise TooLarge("a number that may differ behind its first 50 digits")
        return True
    near = min(Fraction(1), abs(wanted)) if isinstance(wanted, Fraction) else min(1, abs(wanted))
    return bool((gold.decimal or answer.decimal) and abs(wanted - given) <= near / TOLERANCE.denominator)


def _is_beyond_its_digits(value: Value) -> bool:
    """Say whether a number that agrees with it to 50 digits may be another one."""
    return not isinstance(value, Fraction) and bool(value) and not _SMALLEST < context(30).mag(abs(value)) < _LARGEST


def _floating(value: Value, numbers: Any) -> Any:
    return numbers.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else numbers.convert(value)


def _both(one: Value, other: Value) -> tuple[Any, Any]:
    """Return two values as numbers of one kind: both fractions, or both of the context of most digits."""
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return one, other
    numbers = context(_PRECISIONS[-1][1])
    return _floating(one, numbers), _floating(other, numbers)


def distance(one: Value, other: Value) -> Any:
    """Return how far two values are apart."""
    one, other = _both(one, other)
    return abs(one - other)


def quotient(one: Value, other: Value) -> Any:
    """Return one value divided by another, which is not 0."""
    one, other = _both(one, other)
    return one / other


def close(one: Value, other: Value) -> bool:
    """Say whether two values agree to 50 digits."""
    one, other = _both(one, other)
    if isinstance(one, Fraction):
        return bool(one == other)
    return bool(abs(one - other) <= max(abs(one), abs(other)) * context(_PRECISIONS[-1][1]).mpf(10) ** -_AGREE)


def points(gold: Expression, answer: Expression, whole: bool = False) -> list[dict[str, Fraction]]:
    """Return values for the variables of both, the same ones each time: some positive first, then of either sign.

    Args:
        gold: one side.
        answer: the other.
        whole: small whole numbers, for what has values there alone.
    """
    names = sorted(gold.symbols | answer.symbols)
    if whole:
        return [{name: Fraction(_chance(name, k).randint(2, 5 + k)) for name in names} for k in range(8)]
    found: list[dict[str, Fraction]] = []
    breaks = bool(_BREAKS & (gold.calls | answer.calls))
    for k, (low, high) in enumerate((*_SIZES, *(_FAR if breaks else ()))):
        at = {}
        for place, name in enumerate(names):
            chance = _chance(name, k)
            negative = k > 4 and (k == 5 or (k + place) % len(names) == 0 or chance.random() < 0.4)
            size = Fraction(2 * int((low + (high - low) * chance.random()) * 4_096) + 1, 8_192)
            at[name] = -size if negative else size
        found.append(at)
    if breaks:
        found.extend(_near_literals(names, gold.literals | answer.literals))
    return found


def _near_literals(names: list[str], literals: frozenset[Fraction]) -> list[dict[str, Fraction]]:
    r"""Return points on either side of the numbers that are written: `|x-100|` is 100-x up to 100."""
    found: list[dict[str, Fraction]] = []
    for literal in sorted(literals)[:8]:
        for sign in (1, -1):
            for off in (Fraction(1, 7), Fraction(-1, 7)):
                at = {name: Fraction(_chance(name, 99).randint(100, 900), 97) for name in names}
                found.extend({**at, name: sign * literal + off} for name in names[:4])
    return found


def _chance(name: str, place: int) -> random.Random:
    return random.Random(f"{name} {place}")


def _same_function(gold: Expression, answer: Expression) -> bool | None:
    """Compare at points where both are real, else at small whole numbers, else as complex values."""
    real, before = "i" not in gold.calls | answer.calls, 0
    for real_, whole in ((real, False), (real, True), (False, False)):
        agreed = 0
        for at in points(gold, answer, whole):
            verdict = _same_at(gold, answer, at, real_)
            if verdict is False and real_ and _same_when_split(gold, answer, at):
                continue
            if verdict is False:
                # Roots may be split otherwise where they are not real, which says nothing about where they are.
                return None if before else False
            agreed += verdict is True
        if agreed >= _ENOUGH:
            return True
        before += agreed
    return None


def _same_when_split(gold: Expression, answer: Expression, at: Mapping[str, Fraction]) -> bool:
    r"""Say whether two sides are equal with roots of products as products of roots: `\sqrt{a/b}` and `\sqrt{ab}/b`.

    That is asked where two variables are negative: a root of their product is real there, and its sign is that of the
    writing. `\sqrt{x^2}` is not x, nor is |x|.
    """
    if "root" not in gold.calls | answer.calls or sum(value < 0 for value in at.values()) < 2:
        return False
    try:
        return close(*(expression(_with_roots_split(side.tree)).value(at, False) for side in (gold, answer)))
    except (NoValue, TooLarge):
        return False


def _with_roots_split(tree: Tree) -> Tree:
    if not isinstance(tree, Call):
        return tree
    inside, *index = tree.arguments or (tree,)
    if tree.name == "root" and isinstance(inside, Call) and inside.name in ("multiply", "inverse"):
        return Call(inside.name, tuple(_with_roots_split(Call("root", (part, *index))) for part in inside.arguments))
    return Call(tree.name, tuple(map(_with_roots_split, tree.arguments)))


def substituted(tree: Tree, name: str, by: Tree) -> Tree:
    """Return the tree with another tree in place of a variable."""
    if isinstance(tree, Symbol):
        return by if tree.name == name else tree
    if isinstance(tree, Number):
        return tree
    return Call(tree.name, tuple(substituted(argument, name, by) for argument in tree.arguments))


def _same_at(gold: Expression, answer: Expression, at: Mapping[str, Fraction], real: bool) -> bool | None:
    """Compare at one point; None where it says nothing, because one has no value there."""
    values: list[Value] = []
    for side in (gold, answer):
        try:
            values.append(side.value(at, real))
        except Exhausted:
            raise
        except (NoValue, TooLarge) as error:
            values.append(error)
    missing = [value for value in values if isinstance(value, ArithmeticError)]
    if not missing:
        same = close(*values)
        return None if same and any(map(_is_beyond_its_digits, values)) else same
    if len(missing) == 1 and isinstance(missing[0], NotReal):
        few_negative = sum(value < 0 for value in at.values()) < 2
        logarithms = missing[0].of_logarithm and all(side.calls & _LOGARITHMS for side in (gold, answer))
        strict = (logarithms and few_negative) or "abs" in gold.calls | answer.calls
        return False if strict else None
    return None
