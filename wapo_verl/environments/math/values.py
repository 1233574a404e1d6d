"""What an expression is worth where its variables have given values, to any number of digits, at bounded cost.

Exact fractions as long as all is rational and not too long, floating-point numbers of mpmath beyond: their exponents
have no limit, so that `1/2004!` does not vanish. Nothing here parses text, and nothing takes long: an operation whose
cost could grow out of hand is refused with ``TooLarge``.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import mpmath  # type: ignore[import-untyped]

from wapo_verl.environments.math.forms import Number
from wapo_verl.environments.math.trees import Symbol, Tree

_LONGEST_FRACTION = 32_000  # bits; 2006! has 19,064
_LARGEST_EXPONENT = 1 << 24  # bits before the point of a power
_LARGEST_ANGLE = 4_096  # bits
_LARGEST_FACTORIAL = 3_000  # that is computed exactly
_BUDGET = 3_000  # operations of an evaluation, functions and long fractions counted several times


class NoValue(ArithmeticError):
    """An expression has no value here: a pole, 0^0, a factorial of -1."""


class NotReal(NoValue):
    """A root, a power or (``of_logarithm``) a logarithm of a negative number, where only real numbers are asked for."""

    def __init__(self, of_logarithm: bool = False) -> None:
        super().__init__("not a real number")
        self.of_logarithm = of_logarithm


class TooLarge(ArithmeticError):
    """A value that would cost too much to compute."""


Value = Any
"""A ``Fraction``, or a real or complex number of an mpmath context."""

_local = threading.local()


def context(digits: int) -> Any:
    """Return this thread's mpmath context of a precision: contexts change their own state while they compute."""
    known: dict[int, Any] = _local.__dict__.setdefault("contexts", {})
    if digits not in known:
        known[digits] = mpmath.MPContext()
        known[digits].dps = digits
    return known[digits]


def evaluate(tree: Tree, at: Mapping[str, Fraction], digits: int, real: bool) -> Value:
    """Return the value of a tree.

    Args:
        tree: from ``grammar.readings``.
        at: the variables' values.
        digits: decimal digits computed with; fewer are right where terms cancel.
        real: refuse values that are not real on the way; odd roots of negative numbers are real.

    Raises:
        NoValue: where there is none.
        TooLarge: where it would cost too much.
    """
    return _Evaluation(at, context(digits), real).value(tree)


class _Evaluation:
    def __init__(self, at: Mapping[str, Fraction], numbers: Any, real: bool) -> None:
        self.at = at
        self.numbers = numbers
        self.real = real
        self.spent = 0

    def value(self, tree: Tree) -> Value:
        if isinstance(tree, Number):
            return tree.value
        if isinstance(tree, Symbol):
            return self.at[tree.name]
        arguments = [self.value(argument) for argument in tree.arguments]
        self.spend(1 + len(arguments))
        try:
            found = _OPERATIONS[tree.name](self, *arguments)
        except ZeroDivisionError as error:
            raise NoValue("division by zero") from error
        return self.checked(found)

    def spend(self, cost: int) -> None:
        self.spent += cost
        if self.spent > _BUDGET:
            raise TooLarge("too many operations")

    def checked(self, value: Value) -> Value:
        """Return the value, a fraction that has become long as a floating-point number."""
        if isinstance(value, Fraction):
            size = _bits(value)
            self.spend(size // 1_000)
            return value if size <= _LONGEST_FRACTION else self.floating(value)
        if not self.numbers.isfinite(value):
            raise NoValue("infinite")
        return value.real if isinstance(value, self.numbers.mpc) and not value.imag else value

    def floating(self, value: Value) -> Value:
        if isinstance(value, Fraction):
            return self.numbers.mpf(value.numerator) / value.denominator
        return value

    def sizes(self, value: Value) -> int:
        """Return the bits before the point."""
        return int(self.numbers.mag(value)) if value else 0

    def is_negative(self, value: Value) -> bool:
        return not isinstance(value, self.numbers.mpc) and value < 0


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _add(run: _Evaluation, *terms: Value) -> Value:
    if all(isinstance(term, Fraction) for term in terms):
        return sum(terms, Fraction(0))
    return run.numbers.fsum(run.floating(term) for term in terms)


def _multiply(run: _Evaluation, *factors: Value) -> Value:
    exact, rest = Fraction(1), None
    for factor in factors:
        if isinstance(factor, Fraction):
            exact *= factor
            run.spend(_bits(exact) // 1_000)
        else:
            rest = factor if rest is None else rest * factor
    return exact if rest is None else rest * run.floating(exact)


def _inverse(run: _Evaluation, value: Value) -> Value:
    if not value:
        raise NoValue("division by zero")
    return 1 / value


def _power(run: _Evaluation, base: Value, exponent: Value) -> Value:
    if not base:
        if not isinstance(exponent, Fraction) or exponent <= 0:
            raise NoValue("a power of zero")
        return Fraction(0)
    if isinstance(exponent, Fraction) and exponent.denominator == 1:
        power = exponent.numerator
        if isinstance(base, Fraction) and _bits(base) * abs(power) <= _LONGEST_FRACTION:
            return base**power
        _refuse_large(run, base, power)
        return run.floating(base) ** power
    if run.is_negative(base):
        if isinstance(exponent, Fraction) and exponent.denominator % 2:
            size = _power(run, -base, exponent)
            return -size if exponent.numerator % 2 else size
        if run.real:
            raise NotReal
    _refuse_large(run, base, exponent)
    run.spend(8)
    return run.numbers.power(run.floating(base), run.floating(exponent))


def _refuse_large(run: _Evaluation, base: Value, exponent: Value) -> None:
    size = abs(run.sizes(run.floating(base))) + 1
    if run.sizes(run.floating(exponent)) > 64 or size * abs(int(abs(run.floating(exponent))) + 1) > _LARGEST_EXPONENT:
        raise TooLarge("a power")


def _root(run: _Evaluation, value: Value, index: Value) -> Value:
    if not index:
        raise NoValue("the root of order zero")
    return _power(run, value, 1 / index)


def _exp(run: _Evaluation, value: Value) -> Value:
    if run.sizes(run.floating(value)) > 24:
        raise TooLarge("an exponential")
    run.spend(5)
    return run.numbers.exp(run.floating(value))


def _ln(run: _Evaluation, value: Value) -> Value:
    if not value:
        raise NoValue("the logarithm of zero")
    if run.real and run.is_negative(value):
        raise NotReal(of_logarithm=True)
    run.spend(5)
    return run.numbers.log(run.floating(value))


def _log(run: _Evaluation, value: Value, base: Value) -> Value:
    return _ln(run, value) / _ln(run, base)


def _function(name: str, inverted: bool = False, bound: int = _LARGEST_ANGLE) -> Callable[..., Value]:
    """Return an operation that is a function of mpmath, or 1 divided by it."""

    def operation(run: _Evaluation, value: Value) -> Value:
        if run.sizes(run.floating(value)) > bound:
            raise TooLarge(f"the argument of {name}")
        run.spend(5)
        found = getattr(run.numbers, name)(run.floating(value))
        if run.real and isinstance(found, run.numbers.mpc):
            raise NotReal
        return _inverse(run, found) if inverted else found

    return operation


def _of_inverse(name: str) -> Callable[..., Value]:
    """Return the inverse function of 1 / f: arcsec x is arccos 1/x."""

    def operation(run: _Evaluation, value: Value) -> Value:
        return _OPERATIONS[name](run, _inverse(run, value))

    return operation


def _arccot(run: _Evaluation, value: Value) -> Value:
    """Return the angle between 0 and pi whose cotangent is the value."""
    return run.numbers.pi / 2 - _OPERATIONS["arctan"](run, value)


def _whole(value: Value) -> int | None:
    return value.numerator if isinstance(value, Fraction) and value.denominator == 1 else None


def _whole_only(name: str, function: Callable[..., int]) -> Callable[..., Value]:
    """Return an operation on whole numbers."""

    def operation(run: _Evaluation, *values: Value) -> Value:
        found = [_whole(value) for value in values]
        if None in found:
            raise NoValue(f"{name} of what is not whole")
        return Fraction(function(*found))

    return operation


def _factorial(run: _Evaluation, value: Value) -> Value:
    number = _whole(value)
    if number is not None:
        if number < 0:
            raise NoValue("the factorial of a negative number")
        if number <= _LARGEST_FACTORIAL:
            return Fraction(math.factorial(number))
    if run.sizes(run.floating(value)) > 40:
        raise TooLarge("a factorial")
    run.spend(50)
    return run.numbers.gamma(run.floating(value) + 1)


def _double_factorial(run: _Evaluation, value: Value) -> Value:
    number = _whole(value)
    if number is None or number < 0:
        raise NoValue("the double factorial of what is not whole")
    if number > _LARGEST_FACTORIAL:
        raise TooLarge("a double factorial")
    return Fraction(math.prod(range(number, 0, -2)))


def _binomial(run: _Evaluation, above: Value, below: Value) -> Value:
    top, low = _whole(above), _whole(below)
    if top is not None and low is not None and top >= 0:
        if low < 0 or top > 10 * _LARGEST_FACTORIAL:
            raise NoValue("a binomial coefficient") if low < 0 else TooLarge("a binomial coefficient")
        return Fraction(math.comb(top, low))
    if low is not None and 0 <= low <= 64:
        factors = [_multiply(run, _add(run, above, Fraction(-k)), Fraction(1, k + 1)) for k in range(low)]
        return _multiply(run, *factors) if factors else Fraction(1)
    rest = _add(run, above, _multiply(run, Fraction(-1), below))
    return _factorial(run, above) / (_factorial(run, below) * _factorial(run, rest))


def _rounded(name: str) -> Callable[..., Value]:
    """Return floor or ceil; a value so near a whole number that digits cannot tell is refused."""

    def operation(run: _Evaluation, value: Value) -> Value:
        if isinstance(value, Fraction):
            return Fraction(getattr(math, name)(value))
        if isinstance(value, run.numbers.mpc):
            raise NotReal
        if run.sizes(value) > 200 or abs(value - run.numbers.nint(value)) < run.numbers.mpf(10) ** -20:
            raise TooLarge(f"{name} of a number that is too near a whole one")
        return Fraction(int(getattr(run.numbers, name)(value)))

    return operation


def _extreme(choose: Callable[..., Value]) -> Callable[..., Value]:
    def operation(run: _Evaluation, *values: Value) -> Value:
        if any(isinstance(value, run.numbers.mpc) for value in values):
            raise NotReal
        return choose(values, key=run.floating)

    return operation


def _sign(run: _Evaluation, value: Value) -> Value:
    if isinstance(value, run.numbers.mpc):
        raise NotReal
    return Fraction((value > 0) - (value < 0))


def _imaginary(run: _Evaluation) -> Value:
    return run.numbers.mpc(0, 1)


def _infinite(run: _Evaluation) -> Value:
    raise NoValue("infinity")


_OPERATIONS: dict[str, Callable[..., Value]] = {
    "add": _add,
    "multiply": _multiply,
    "inverse": _inverse,
    "power": _power,
    "root": _root,
    "pi": lambda run: +run.numbers.pi,
    "e": lambda run: +run.numbers.e,
    "i": _imaginary,
    "infinity": _infinite,
    "exp": _exp,
    "ln": _ln,
    "log": _log,
    "cis": lambda run, value: _exp(run, run.floating(value) * run.numbers.mpc(0, 1)),
    "abs": lambda run, value: abs(value),
    "degree": lambda run, value: run.floating(value) * run.numbers.pi / 180,
    "percent": lambda run, value: value / 100,
    "factorial": _factorial,
    "double_factorial": _double_factorial,
    "binom": _binomial,
    "floor": _rounded("floor"),
    "ceil": _rounded("ceil"),
    "sgn": _sign,
    "max": _extreme(max),
    "min": _extreme(min),
    "gcd": _whole_only("gcd", math.gcd),
    "lcm": _whole_only("lcm", math.lcm),
    **{name: _function(name) for name in ("sin", "cos", "tan")},
    **{name: _function(name, bound=24) for name in ("sinh", "cosh", "tanh")},
    **{"csc": _function("sin", True), "sec": _function("cos", True), "cot": _function("tan", True)},
    **{"csch": _function("sinh", True, 24), "sech": _function("cosh", True, 24), "coth": _function("tanh", True, 24)},
    **{f"arc{name}": _function(f"a{name}") for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    **{"arcsec": _of_inverse("arccos"), "arccsc": _of_inverse("arcsin"), "arccot": _arccot},
}


def known(names: frozenset[str]) -> bool:
    """Say whether every operation has a value here."""
    return names <= _OPERATIONS.keys()
