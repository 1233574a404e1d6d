"""Expressions as trees: numbers, symbols and calls, and what can be said of a tree without computing anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from wapo_verl.environments.math.forms import Number


@dataclass(frozen=True, slots=True)
class Symbol:
    """A variable, with its subscript where it has one: ``x``, ``x_1``, ``lambda``."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """An operation, a function or a constant of the table in ``values``: ``add``, ``inverse``, ``sin``, ``pi``."""

    name: str
    arguments: tuple[Tree, ...] = ()


Tree = Number | Symbol | Call

MINUS_ONE = Number(Fraction(-1), False)


def add(terms: list[Tree]) -> Tree:
    """Return the sum of the terms; a single one stays as it is."""
    return terms[0] if len(terms) == 1 else Call("add", tuple(terms))


def multiply(factors: list[Tree]) -> Tree:
    """Return the product of the factors; a single one stays as it is."""
    return factors[0] if len(factors) == 1 else Call("multiply", tuple(factors))


def inverse(tree: Tree) -> Tree:
    """Return 1 divided by the tree."""
    return Call("inverse", (tree,))


def negative(tree: Tree) -> Tree:
    """Return the tree with the other sign; a number stays a number."""
    return Number(-tree.value, tree.decimal) if isinstance(tree, Number) else Call("multiply", (MINUS_ONE, tree))


def difference(left: Tree, right: Tree) -> Tree:
    """Return ``left - right``."""
    return Call("add", (left, negative(right)))


def nodes(tree: Tree) -> Iterator[Tree]:
    """Yield the tree and every tree in it."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, Call):
            waiting.extend(node.arguments)


def symbols(tree: Tree) -> frozenset[str]:
    """Return the names of the variables."""
    return frozenset(node.name for node in nodes(tree) if isinstance(node, Symbol))


def calls(tree: Tree) -> frozenset[str]:
    """Return the names of the operations, functions and constants."""
    return frozenset(node.name for node in nodes(tree) if isinstance(node, Call))


def has_decimal(tree: Tree) -> bool:
    """Say whether one of the numbers is written as a decimal, which may be a rounded one."""
    return any(isinstance(node, Number) and node.decimal for node in nodes(tree))


def shape(tree: Tree) -> tuple[object, ...]:
    r"""Return what stays of a tree when order and ways to write a fraction mean nothing.

    `\frac{\pi}{2}`, `\pi/2`, `\frac12\pi` and `0.5\pi` have one shape. Nothing is computed: `2+3` and `5` have two.
    """
    if isinstance(tree, Symbol):
        return ("symbol", tree.name)
    if isinstance(tree, Number):
        return _product([tree])
    if tree.name == "add":
        return ("add", *sorted((shape(term) for term in _flat(tree, "add")), key=repr))
    if tree.name in ("multiply", "inverse"):
        return _product(_flat(tree, "multiply"))
    return (tree.name, *map(shape, tree.arguments))


def _flat(tree: Tree, name: str) -> list[Tree]:
    """Return the arguments of nested calls of one name as one list."""
    if not isinstance(tree, Call) or tree.name != name:
        return [tree]
    return [part for argument in tree.arguments for part in _flat(argument, name)]


def _product(factors: list[Tree]) -> tuple[object, ...]:
    """Return sign, numerator and denominator, each of the latter two sorted and without ones."""
    sign = 1
    above: list[tuple[object, ...]] = []
    below: list[tuple[object, ...]] = []
    waiting = [(factor, False) for factor in factors]
    while waiting:
        factor, under = waiting.pop()
        if isinstance(factor, Number):
            sign *= -1 if factor.value < 0 else 1
            over, low = abs(factor.value.numerator), factor.value.denominator
            for part, place in ((over, under), (low, not under)):
                if part != 1:
                    (below if place else above).append(("number", part))
        elif isinstance(factor, Call) and factor.name == "inverse":
            waiting.extend((part, not under) for part in _flat(factor.arguments[0], "multiply"))
        elif isinstance(factor, Call) and factor.name == "multiply":
            waiting.extend((part, under) for part in factor.arguments)
        else:
            (below if under else above).append(shape(factor))
    if sign == 1 and not below and len(above) == 1:
        return above[0]
    return ("multiply", sign, tuple(sorted(above, key=repr)), tuple(sorted(below, key=repr)))
