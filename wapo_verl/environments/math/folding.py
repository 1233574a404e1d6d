r"""Numbers too large for any arithmetic, `7^{7^7}` or `2^{2^{100}}`: what is exact in an expression is computed first.

Two such expressions are equal where the same is left of both. Of two powers of whole numbers that holds the other way
round too: with bases that are no powers themselves (2 for 4), they are equal only where base and exponent are.
"""

from __future__ import annotations

from fractions import Fraction

from wapo_verl.environments.math.operations import bits
from wapo_verl.environments.math.trees import Call, Number, Symbol, Tree, shape
from wapo_verl.environments.math.values import NoValue, TooLarge, evaluate

_LARGEST_BASE = 2**50  # floating-point numbers hold its roots exactly
_DIGITS = 30
_LONGEST = 14_000  # bits; Python writes no longer integer, and shapes are ordered as they are written


def same_when_folded(gold: Tree, answer: Tree) -> bool | None:
    """Say whether two expressions are equal once their exact parts are computed; None where that does not settle it."""
    wanted, given = _folded(gold), _folded(answer)
    if shape(wanted) == shape(given):
        return True
    return False if _is_whole_power(wanted) and _is_whole_power(given) else None


def _folded(tree: Tree) -> Tree:
    if not isinstance(tree, Call):
        return tree
    arguments = tuple(_folded(argument) for argument in tree.arguments)
    folded = Call(tree.name, arguments)
    if arguments and all(isinstance(argument, Number) and not argument.decimal for argument in arguments):
        return _computed(folded)
    if folded.name == "inverse" and _is_whole_power(arguments[0]):
        base, exponent = arguments[0].arguments  # type: ignore[union-attr]
        return Call("power", (base, Number(-exponent.value, False)))  # type: ignore[union-attr]
    return folded


def _computed(call: Call) -> Tree:
    """Return the number that an operation on exact numbers gives, or a power with its smallest base."""
    try:
        value = evaluate(call, {}, _DIGITS, real=False)
    except (NoValue, TooLarge):
        value = None
    if isinstance(value, Fraction) and bits(value) < _LONGEST:
        return Number(value, False)
    return _with_smallest_base(call) if call.name == "power" else call


def _with_smallest_base(power: Call) -> Tree:
    r"""Return `4^{50}` as `2^{100}` and `(1/3)^9` as `3^{-9}`."""
    base, exponent = (argument.value for argument in power.arguments if isinstance(argument, Number))
    if base.numerator == 1:
        base, exponent = 1 / base, -exponent
    if base.denominator != 1 or exponent.denominator != 1 or not 1 < base < _LARGEST_BASE:
        return power
    for order in range(base.numerator.bit_length(), 1, -1):
        root = round(base.numerator ** (1 / order))
        if root**order == base:
            return Call("power", (Number(Fraction(root), False), Number(exponent * order, False)))
    return Call("power", (Number(base, False), Number(exponent, False)))


def _is_whole_power(tree: Tree) -> bool:
    """Say whether it is a power of whole numbers, as ``_with_smallest_base`` returns it."""
    if isinstance(tree, Symbol | Number) or tree.name != "power":
        return False
    base, exponent = tree.arguments
    whole = isinstance(base, Number) and isinstance(exponent, Number) and exponent.value.denominator == 1
    return whole and 1 < base.value < _LARGEST_BASE and base.value.denominator == 1  # type: ignore[union-attr]
