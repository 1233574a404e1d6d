r"""Inequalities as the intervals that they are: `3 < x \le 4` is (3,4], `x \ne 2` the line without 2."""

from __future__ import annotations

import re
from dataclasses import replace

from wapo_verl.environments.math import expressions
from wapo_verl.environments.math.relations import is_name, names_one_thing, same_name, sides
from wapo_verl.environments.math.structure import AND, ATOM, COMMA, ORDERED, UNORDERED, Node, line_without

_FLIPPED = {">": "<", r"\ge": r"\le", "<": ">", r"\le": r"\ge"}
_ABSOLUTE = re.compile(r"\s*(?:\||\\[lr]?vert(?![a-z]))\s*[a-vxy]")  # |z| may be that of a complex number
_NO_COMBINATION = re.compile(r"[\^|:]|\\(?:sqrt|mid|vert|colon)(?![a-z])")


def interval(text: str, in_answer: bool = False) -> Node | None:
    r"""Return the interval of `a < x \le b`, `x > a` or `a \ge x`, the two of `x \ne a`; None for anything else.

    Args:
        text: the inequality.
        in_answer: take what combines several unknowns (`a+b`, `\frac yx`) for the variable too.
    """
    found = sides(text)
    pieces, signs = list(found.pieces), list(found.signs)
    place = next((place for place, side in enumerate(pieces) if _is_unknown(side)), None)
    if place is None and in_answer and r"\ne" not in signs:
        place = next((place for place, side in enumerate(pieces) if _combines_unknowns(side)), None)
    if place is None or len(pieces) not in (2, 3) or (len(pieces) == 3 and place != 1):
        return None
    if signs == [r"\ne"]:
        return replace(line_without(pieces[1 - place : 2 - place]), variable=pieces[place])
    if not set(signs) <= _FLIPPED.keys():
        return None
    if signs[0] in (">", r"\ge"):
        pieces, signs = pieces[::-1], [_FLIPPED[sign] for sign in signs[::-1]]
        place = len(pieces) - 1 - place
    if not set(signs) <= {"<", r"\le"}:
        return None
    last = len(pieces) - 1
    low, high = (pieces[0] if place else r"-\infty"), (pieces[-1] if place < last else r"\infty")
    opening = "[" if place and signs[0] == r"\le" else "("
    closing = "]" if place < last and signs[-1] == r"\le" else ")"
    return Node(ORDERED, opening + closing, (Node(ATOM, low), Node(ATOM, high)), pieces[place])


def _is_unknown(side: str) -> bool:
    r"""Say whether it names one thing, and no absolute value of a variable: `|x| > 2` is not (2,\infty)."""
    return names_one_thing(side) and not _ABSOLUTE.match(side)


def _combines_unknowns(side: str) -> bool:
    several = len(set(re.findall("[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", " ", side)))) > 1
    return several and is_name(side) and not _NO_COMBINATION.search(side)


def at_once(answer: Node) -> bool:
    """Say whether an answer joins ranges of one variable by "and": `1 < x < 2 and x > 5` is no union."""
    if answer.kind != UNORDERED or answer.text != AND:
        return False
    ranges = [interval(part.text, in_answer=True) if part.kind == ATOM else None for part in answer.parts]
    named = {found.variable if found and found.kind == ORDERED else None for found in ranges}
    return len(named) == 1 and None not in named


def both_at_once(node: Node, in_answer: bool) -> Node:
    """Return the interval of a list of two bounds of one variable: `x > 1 and x < 3`, and `x > 1, x < 3`.

    Bounds that exclude each other (`x < 1, x > 3`) are two ranges, unless an answer joins them by "and".
    """
    if node.kind != UNORDERED or node.text not in (AND, COMMA) or len(node.parts) != 2:
        return node
    bounds = [interval(part.text, in_answer) for part in node.parts if part.kind == ATOM]
    above = next((bound for bound in bounds if bound and bound.parts[1].text == r"\infty"), None)
    below = next((bound for bound in bounds if bound and bound.parts[0].text == r"-\infty"), None)
    if not (above and below and above.kind == below.kind == ORDERED and same_name(above.variable, below.variable)):
        return node
    low, high = above.parts[0], below.parts[1]
    if (in_answer and node.text == AND) or expressions.is_below(low.text, high.text):
        return Node(ORDERED, above.text[0] + below.text[1], (low, high), above.variable)
    return node
