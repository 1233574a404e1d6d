"""What an expression is worth where its variables have given values, to any number of digits, at bounded cost.

Nothing here parses text, and nothing takes long: an evaluation that could grow out of hand ends with ``TooLarge``.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import mpmath

from wapo_verl.environments.math.forms import Number
from wapo_verl.environments.math.operations import (
    OPERATIONS,
    Exhausted,
    NotReal,
    NoValue,
    TooLarge,
    Value,
    bits,
    floating,
)
from wapo_verl.environments.math.trees import Symbol, Tree

__all__ = ["Exhausted", "NoValue", "NotReal", "TooLarge", "Value", "context", "evaluate"]

_LONGEST_FRACTION = 120_000  # bits; 2006! has 19,064, 10,000! has 118,459
_LONGEST_AT_POINTS = 8_000  # where variables have values, of which many are tried
_BUDGET = 3_000  # operations of an evaluation, functions and long fractions counted several times
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
        self.longest = _LONGEST_AT_POINTS if at else _LONGEST_FRACTION
        self.spent = 0

    def value(self, tree: Tree) -> Value:
        if isinstance(tree, Number):
            return tree.value
        if isinstance(tree, Symbol):
            return self.at[tree.name]
        arguments = [self.value(argument) for argument in tree.arguments]
        self.spend(1 + len(arguments))
        try:
            found = OPERATIONS[tree.name](self, *arguments)
        except ZeroDivisionError as error:
            raise NoValue("division by zero") from error
        return self.checked(found)

    def spend(self, cost: int) -> None:
        self.spent += cost
        if self.spent > _BUDGET:
            raise Exhausted("too many operations")

    def checked(self, value: Value) -> Value:
        """Return the value, a fraction that has become long as a floating-point number."""
        if isinstance(value, Fraction):
            self.spend(bits(value) // 1_000)
            return value if bits(value) <= self.longest else floating(self, value)
        if not self.numbers.isfinite(value):
            raise NoValue("infinite")
        return value.real if isinstance(value, self.numbers.mpc) and not value.imag else value
