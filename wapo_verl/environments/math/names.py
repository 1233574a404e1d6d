"""Lists of equations by the names on their left sides: as a tuple, as the roots of one unknown."""

from __future__ import annotations

import re

from wapo_verl.environments.math.forms import without_spaces
from wapo_verl.environments.math.relations import EQUAL_TO, is_name, sides
from wapo_verl.environments.math.structure import ATOM, ORDERED, UNORDERED, Node, structure

_NUMBER_BELOW = re.compile(r"_(?:[0-9]|\{[0-9]+\})$")
TUPLES = ("()", r"\langle\rangle")


def name_of(node: Node) -> str | None:
    """Return the name on an equation's left side; None for anything else."""
    found = sides(node.text) if node.kind == ATOM else None
    is_named = found is not None and found.signs == (EQUAL_TO,) and is_name(found.pieces[0])
    return without_spaces(found.pieces[0]) if found and is_named else None


def without_name(node: Node) -> Node:
    """Return the right side of `name = value`; anything else as it is."""
    return structure(sides(node.text).pieces[-1]) or node if name_of(node) else node


def are_roots_of_one_unknown(gold: list[Node], answer: list[Node]) -> bool:
    """Say whether the gold answer numbers what the answer does not: `x_1=2, x_2=-3` and `x=-3, x=2`."""
    unknowns = {_NUMBER_BELOW.sub("", name_of(part) or "") for part in gold}
    return len(unknowns) == 1 and unknowns == {*map(name_of, answer)} - {None}


def in_order(node: Node, other: Node) -> Node:
    """Return `x=1, y=2` as the tuple (1, 2) beside a tuple: in the order of `(x,y) = ...`, else of the alphabet."""
    named = {name_of(part): part for part in node.parts}
    if node.kind != UNORDERED or len(named) < max(2, len(node.parts)) or None in named:
        return node
    names = sorted(filter(None, named))
    if other.kind == ATOM:
        found = sides(other.text)
        left = structure(found.pieces[0]) if found.signs == (EQUAL_TO,) else None
        given = [without_spaces(part.text) for part in left.parts] if left else []
        if sorted(given) != names:
            return node
        names = given
    elif other.kind != ORDERED or other.text not in TUPLES:
        return node
    return Node(ORDERED, TUPLES[0], tuple(named[name] for name in names))
