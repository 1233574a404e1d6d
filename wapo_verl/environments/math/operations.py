"""What the operations, functions and constants of an expression are worth; each refuses what could take long.

Exact fractions as long as all is rational and not too long, floating-point numbers of mpmath beyond: their exponents
have no limit, so that `1/2004!` does not vanish.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Protocol

_LARGEST_EXPONENT = 60  # bits of the number of bits before the point of a power
_LARGEST_ANGLE = 4_096  # bits
_LARGEST_FACTORIAL = 10_000  # that is computed exactly


class NoValue(ArithmeticError):
    """An expression has no value here: a pole, 0^0, a factorial of -1."""


class NotReal(NoValue):
    """A root, a power or (``of_logarithm``) a logarithm of a negative number, where only real numbers are asked for."""

    def __init__(self, of_logarithm: bool = False) -> None:
        super().__init__("not a real number")
        self.of_logarithm = of_logarithm


class TooLarge(ArithmeticError):
    """A value that would cost too much to compute."""


class Exhausted(TooLarge):
    """An expression whose evaluation costs too much, and at any other point too."""


Value = Any
"""A ``Fraction``, or a real or complex number of an mpmath context."""


class Run(Protocol):
    """One evaluation, as operations see it."""

    numbers: Any
    """The mpmath context."""
    real: bool
    """Whether values that are not real are refused."""
    longest: int
    """Bits of a fraction, above which it becomes a floating-point number."""

    def spend(self, cost: int) -> None:
        """Count work; raises ``Exhausted`` where it becomes too much."""


def floating(run: Run, value: Value) -> Value:
    """Return a fraction as a floating-point number, others as they are."""
    return run.numbers.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def magnitude(run: Run, value: Value) -> int:
    """Return the bits before the point."""
    return int(run.numbers.mag(floating(run, value))) if value else 0


def _is_negative(run: Run, value: Value) -> bool:
    return not isinstance(value, run.numbers.mpc) and value < 0


def bits(value: Fraction) -> int:
    """Return the bits of the longer of numerator and denominator."""
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _add(run: Run, *terms: Value) -> Value:
    if all(isinstance(term, Fraction) for term in terms):
        return sum(terms, Fraction(0))
    return run.numbers.fsum(floating(run, term) for term in terms)


def _multiply(run: Run, *factors: Value) -> Value:
    exact, rest = Fraction(1), None
    for factor in factors:
        if isinstance(factor, Fraction):
            exact *= factor
            run.spend(bits(exact) // 1_000)
        else:
            rest = factor if rest is None else rest * factor
    return exact if rest is None else rest * floating(run, exact)


def _inverse(run: Run, value: Value) -> Value:
    if not value:
        raise NoValue("division by zero")
    return 1 / value


def _power(run: Run, base: Value, exponent: Value) -> Value:
    if not base:
        if not isinstance(exponent, Fraction) or exponent <= 0:
            raise NoValue("a power of zero")
        return Fraction(0)
    if isinstance(exponent, Fraction) and exponent.denominator == 1:
        power = exponent.numerator
        if isinstance(base, Fraction) and (bits(base) - 1) * abs(power) <= run.longest:
            return base**power
        _refuse_large(run, base, power)
        return floating(run, base) ** power
    if _is_negative(run, base):
        if isinstance(exponent, Fraction) and exponent.denominator % 2:
            size = _power(run, -base, exponent)
            return -size if exponent.numerator % 2 else size
        if run.real:
            raise NotReal
    _refuse_large(run, base, exponent)
    run.spend(8)
    return run.numbers.power(floating(run, base), floating(run, exponent))


def _refuse_large(run: Run, base: Value, exponent: Value) -> None:
    """Refuse a power of more bits than an exponent should have: `9^{9^9}` is computed, `9^{9^{9^9}}` is not."""
    if magnitude(run, exponent) + (abs(magnitude(run, base)) + 1).bit_length() > _LARGEST_EXPONENT:
        raise TooLarge("a power")


def _root(run: Run, value: Value, index: Value) -> Value:
    if not index:
        raise NoValue("the root of order zero")
    return _power(run, value, 1 / index)


def _exp(run: Run, value: Value) -> Value:
    if magnitude(run, value) > _LARGEST_EXPONENT:
        raise TooLarge("an exponential")
    run.spend(5)
    return run.numbers.exp(floating(run, value))


def _ln(run: Run, value: Value) -> Value:
    if not value:
        raise NoValue("the logarithm of zero")
    if run.real and _is_negative(run, value):
        raise NotReal(of_logarithm=True)
    run.spend(5)
    return run.numbers.log(floating(run, value))


def _log(run: Run, value: Value, base: Value) -> Value:
    return _ln(run, value) / _ln(run, base)


def _function(name: str, inverted: bool = False, bound: int = _LARGEST_ANGLE) -> Callable[..., Value]:
    """Return an operation that is a function of mpmath, or 1 divided by it."""

    def operation(run: Run, value: Value) -> Value:
        if magnitude(run, value) > bound:
            raise TooLarge(f"the argument of {name}")
        run.spend(5)
        found = getattr(run.numbers, name)(floating(run, value))
        if run.real and isinstance(found, run.numbers.mpc):
            raise NotReal
        return _inverse(run, found) if inverted else found

    return operation


def _of_inverse(name: str) -> Callable[..., Value]:
    """Return the inverse function of 1 / f: arcsec x is arccos 1/x."""

    def operation(run: Run, value: Value) -> Value:
        return OPERATIONS[name](run, _inverse(run, value))

    return operation


def _arccot(run: Run, value: Value) -> Value:
    """Return the angle between 0 and pi whose cotangent is the value."""
    return run.numbers.pi / 2 - OPERATIONS["arctan"](run, value)


def _whole(value: Value) -> int | None:
    return value.numerator if isinstance(value, Fraction) and value.denominator == 1 else None


def _whole_only(name: str, function: Callable[..., int]) -> Callable[..., Value]:
    """Return an operation on whole numbers."""

    def operation(run: Run, *values: Value) -> Value:
        found = [_whole(value) for value in values]
        if None in found:
            raise NoValue(f"{name} of what is not whole")
        return Fraction(function(*found))

    return operation


def _factorial(run: Run, value: Value) -> Value:
    number = _whole(value)
    if number is not None:
        if number < 0:
            raise NoValue("the factorial of a negative number")
        if number <= _LARGEST_FACTORIAL:
            run.spend(number // 50)
            return Fraction(math.factorial(number))
    if magnitude(run, value) > 40:
        raise TooLarge("a factorial")
    run.spend(50)
    argument = floating(run, value) + 1
    if run.numbers.isint(argument) and argument.real <= 0:
        raise NoValue("a pole of the gamma function")
    return run.numbers.gamma(argument)


def _double_factorial(run: Run, value: Value) -> Value:
    number = _whole(value)
    if number is None or number < 0:
        raise NoValue("the double factorial of what is not whole")
    if number > _LARGEST_FACTORIAL:
        raise TooLarge("a double factorial")
    run.spend(number // 50)
    return Fraction(math.prod(range(number, 0, -2)))


def _binomial(run: Run, above: Value, below: Value) -> Value:
    top, low = _whole(above), _whole(below)
    if top is not None and low is not None and top >= 0:
        if low < 0:
            raise NoValue("a binomial coefficient")
        factors = min(low, abs(top - low))
        if factors * top.bit_length() <= run.longest:
            run.spend(factors // 50)
            return Fraction(math.comb(top, low))
    if low is not None and 0 <= low <= 64:
        parts = [_multiply(run, _add(run, above, Fraction(-k)), Fraction(1, k + 1)) for k in range(low)]
        return _multiply(run, *parts) if parts else Fraction(1)
    rest = _add(run, above, _multiply(run, Fraction(-1), below))
    under = (_inverse(run, _factorial(run, value)) for value in (below, rest))
    return _multiply(run, _factorial(run, above), *under)


def _rounded(name: str) -> Callable[..., Value]:
    """Return floor or ceil; a value so near a whole number that digits cannot tell is refused."""

    def operation(run: Run, value: Value) -> Value:
        if isinstance(value, Fraction):
            return Fraction(getattr(math, name)(value))
        if isinstance(value, run.numbers.mpc):
            raise NotReal
        if magnitude(run, value) > 200 or abs(value - run.numbers.nint(value)) < run.numbers.mpf(10) ** -20:
            raise TooLarge(f"{name} of a number that is too near a whole one")
        return Fraction(int(getattr(run.numbers, name)(value)))

    return operation


def _extreme(choose: Callable[..., Value]) -> Callable[..., Value]:
    def operation(run: Run, *values: Value) -> Value:
        if any(isinstance(value, run.numbers.mpc) for value in values):
            raise NotReal
        return choose(values, key=lambda value: floating(run, value))

    return operation


def _sign(run: Run, value: Value) -> Value:
    if isinstance(value, run.numbers.mpc):
        raise NotReal
    return Fraction((value > 0) - (value < 0))


def _imaginary(run: Run) -> Value:
    return run.numbers.mpc(0, 1)


def _infinite(run: Run) -> Value:
    raise NoValue("infinity")


OPERATIONS: dict[str, Callable[..., Value]] = {
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
    "cis": lambda run, value: _exp(run, floating(run, value) * run.numbers.mpc(0, 1)),
    "abs": lambda run, value: abs(value),
    "degree": lambda run, value: floating(run, value) * run.numbers.pi / 180,
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
