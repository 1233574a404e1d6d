r"""Whether an answer means what the gold answer means.

From the outside in: options of a multiple choice, then the structure (lists, tuples, intervals, matrices), then within
each piece words, equations, units and numbers, and at last single expressions. The computer algebra is handed in
(`wapo_verl.environments.math.algebra` in the worker processes): this file imports none, so the process that trains
settles with it what needs none, which is nearly all. Order matters: gold first, answer second.

What is settled here because math-verify 0.9 gets it wrong or takes it lightly (each is a case in the tests):

- `204_5` and `204_6` are the same to it: digits and base must both agree, only the base may be left out.
- `-2, 1, 1` is `1, -2` to it, and `(2,3)` is `2, 3`: parts are counted, brackets are compared, sets keep no order.
- `2x+3=5` is 5 to it, as is any equation that ends in 5: what stands left of the last `=` must be a name or be equal
  (`==` and `\equiv` are equals signs here). So it is with golds: `x+y=5` is 5 to it, `x=2, y=3` is `3, 2`.
- `0.0000002` is `0.0000001` to it (six places, absolute): the tolerance is relative too, for golds below 1.
- `3r^2` is `3R^2` to it: small and capital letters are different variables.
- `5t` is 5 to it, and 10 minutes are 10 seconds: units are taken from a table, and two that differ are refused; what is
  counted ("13 boxes") is taken off where the gold is a number.
- `50\%` is nothing to it: it is 1/2, and it is 50 where the gold is a number of at least 1 (the sign was asked for).
- `-2 \le x \le 7` is not `[-2,7]` to it; a word is the product of its letters, whatever their order.
- `6 7` is 13 to it, `1/2004!` is `1/2006!`, and `0.\overline{3}` is nothing.
- `x=1, y=2` is `(x,y)=(1,2)`, in the order that is named; `{a : a > 1}` is an interval where its braces were lost too.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

from wapo_verl.environments.math import expressions
from wapo_verl.environments.math.amounts import by_algebra, same_amount
from wapo_verl.environments.math.bound import families_compared, in_the_names_of
from wapo_verl.environments.math.choices import in_text, option, words
from wapo_verl.environments.math.cleaning import clean
from wapo_verl.environments.math.forms import is_readable, plain_number, unit_in_last_place, without_spaces
from wapo_verl.environments.math.names import TUPLES, are_roots_of_one_unknown, in_order, name_of, without_name
from wapo_verl.environments.math.quantities import quantity
from wapo_verl.environments.math.ranges import at_once, both_at_once, interval
from wapo_verl.environments.math.relations import (
    APPROXIMATELY,
    EQUAL_TO,
    Sides,
    is_name,
    lacks_a_side,
    names_one_thing,
    same_name,
    sides,
)
from wapo_verl.environments.math.structure import AND, ATOM, MATRIX, ORDERED, UNORDERED, Node, structure
from wapo_verl.environments.math.verdicts import DIFFERENT, EQUAL, GOLD_UNPARSED, UNPARSED, Algebra, Unreadable

__all__ = ["DIFFERENT", "EQUAL", "GOLD_UNPARSED", "UNPARSED", "Algebra", "Unreadable", "compare"]


def compare(gold: str, answer: str, algebra: Algebra) -> str:
    """Return one of ``EQUAL``, ``DIFFERENT``, ``UNPARSED`` (the answer's doing) and ``GOLD_UNPARSED``.

    Args:
        gold: the right answer, without what surrounds it (see ``wapo_verl.environments.math.extraction``).
        answer: the one to judge, likewise.
        algebra: compares single expressions; what it raises beside ``Unreadable`` is passed on.
    """
    if gold.strip() == answer.strip():
        return EQUAL
    if len(answer) > 10 * len(gold) + 1_000:
        return UNPARSED
    gold, answer = clean(gold), clean(answer)
    if without_spaces(gold) == without_spaces(answer):
        return EQUAL
    if not is_readable(answer) or not answer:
        return UNPARSED
    try:
        return _compared(gold, answer, algebra)
    except Unreadable as error:
        return GOLD_UNPARSED if error.gold else UNPARSED


def _compared(gold: str, answer: str, algebra: Algebra) -> str:
    """Compare cleaned texts: the options that they name, or else what they are."""
    wanted, given = option(gold), option(answer)
    if wanted and (wanted.marked or given):
        if given:
            texts = not (wanted.rest and given.rest) or _compared(wanted.rest, given.rest, algebra) == EQUAL
            return EQUAL if wanted.letter == given.letter and texts else DIFFERENT
        return _compared(wanted.rest, answer, algebra) if wanted.rest else DIFFERENT
    if given and given.marked and given.rest and _structures_compared(gold, given.rest, algebra) == EQUAL:
        return EQUAL
    return families_compared(gold, in_the_names_of(gold, answer), partial(_structures_compared, algebra=algebra))


def _structures_compared(gold: str, answer: str, algebra: Algebra) -> str:
    wanted, given = structure(gold), structure(answer)
    if wanted is None or given is None:
        return GOLD_UNPARSED if wanted is None else UNPARSED
    return EQUAL if _same(wanted, given, algebra) else DIFFERENT


def _same(gold: Node, answer: Node, algebra: Algebra) -> bool:
    if gold.kind == answer.kind == ATOM:
        wanted_range = interval(gold.text)
        given_range = interval(without_name(answer).text, in_answer=True) if wanted_range else None
        if not (wanted_range and given_range and same_name(wanted_range.variable, given_range.variable)):
            return _same_atom(gold.text, answer.text, algebra)
        gold, answer = wanted_range, given_range
    if gold.kind == UNORDERED and gold.text != AND and at_once(answer):
        return False
    gold, answer = in_order(gold, answer), in_order(answer, gold)
    gold, answer = _alike(gold, answer), _alike(answer, gold, in_answer=True)
    if gold.variable and answer.variable and not same_name(gold.variable, answer.variable):
        return False
    if gold.kind == answer.kind == ORDERED:
        return _same_ordered(gold, answer, algebra)
    if UNORDERED not in (gold.kind, answer.kind):
        return False
    wanted = list(gold.parts) if gold.kind == UNORDERED else [gold]
    given = list(answer.parts) if answer.kind == UNORDERED else [answer]
    if len(wanted) != len(given):
        return False
    if are_roots_of_one_unknown(wanted, given):
        wanted, given = [*map(without_name, wanted)], [*map(without_name, given)]
    elif len({*map(name_of, wanted)} - {None}) > 1 and None in map(name_of, given):
        # x=2, y=3 may be given as 2, 3, and not as 3, 2.
        return all(_same(one, other, algebra) for one, other in zip(wanted, given, strict=True))
    return _matched(wanted, given, algebra)


def _same_ordered(gold: Node, answer: Node, algebra: Algebra) -> bool:
    """Compare tuples, intervals and matrices; a vector may be a column, a row of a matrix, or a tuple."""
    if gold.text != answer.text:
        brackets = (*TUPLES, "[]") if MATRIX in (gold.text, answer.text) else TUPLES
        gold, answer = _vector(gold, brackets), _vector(answer, brackets)
        if gold.text != "vector" or answer.text != "vector":
            return False
    return len(gold.parts) == len(answer.parts) and all(
        _same(wanted, given, algebra) for wanted, given in zip(gold.parts, answer.parts, strict=True)
    )


def _vector(node: Node, brackets: tuple[str, ...]) -> Node:
    """Return a tuple in such brackets, a column or a row of a matrix as a vector; anything else as it is.

    Square brackets around two are an interval.
    """
    if node.text == MATRIX:
        rows = node.parts
        if len(rows) == 1:
            return Node(ORDERED, "vector", rows[0].parts)
        if all(len(row.parts) == 1 for row in rows):
            return Node(ORDERED, "vector", tuple(row.parts[0] for row in rows))
    elif node.text in brackets and not (node.text == "[]" and len(node.parts) == 2):
        return Node(ORDERED, "vector", node.parts)
    return node


def _matched(gold: list[Node], answer: list[Node], algebra: Algebra) -> bool:
    """Say whether the parts can be paired; equality carries over, so the first match is as good as any."""
    for wanted in gold:
        found = next((given for given in answer if _same(wanted, given, algebra)), None)
        if found is None:
            return False
        answer.remove(found)
    return True


def _alike(node: Node, other: Node, in_answer: bool = False) -> Node:
    """Return ``node`` ready to be compared: an inequality beside an interval becomes one, names are dropped."""
    if node.text != other.text:
        node = both_at_once(node, in_answer)
    if node.kind == ATOM:
        found = sides(node.text)
        if found.only(EQUAL_TO) and all(map(is_name, found.pieces[:-1])):
            node = structure(found.pieces[-1]) or node
    if node.kind == ATOM:
        return interval(node.text, in_answer) or node
    if node.kind == UNORDERED and any(part.kind == ORDERED for part in (*other.parts, other)):
        ranges = [interval(part.text, in_answer) if part.kind == ATOM else None for part in node.parts]
        return replace(node, parts=tuple(found or part for found, part in zip(ranges, node.parts, strict=True)))
    return node


def _same_atom(gold: str, answer: str, algebra: Algebra) -> bool:
    if without_spaces(gold) == without_spaces(answer):
        return True
    if word := words(gold):
        return word == words(answer)
    if lacks_a_side(answer):
        return False
    wanted, given = sides(_exact_side(in_text(gold) or gold)), sides(in_text(answer) or answer)
    if not given.only(EQUAL_TO) and given.signs and ":" in answer and ":" not in gold:  # n^2 : n > 5
        return False
    if APPROXIMATELY in given.signs:
        return _same_and_rounded(wanted, given, algebra)
    if wanted.only(EQUAL_TO) and not given.signs:
        if not all(map(names_one_thing, wanted.pieces[:-1])):  # x+y=5 is a relation, which a number is not
            return False
        return _same_piece(wanted.pieces[-1], given.pieces[0], algebra)
    if given.only(EQUAL_TO) and not wanted.signs:
        return _same_as_equation(wanted.pieces[0], given.pieces, algebra)
    if wanted.signs and given.signs:
        return _same_relation(wanted, given, algebra)
    if wanted.signs or given.signs:
        return False
    return same_amount(wanted.pieces[0], given.pieces[0], algebra)


def _same_piece(gold: str, answer: str, algebra: Algebra) -> bool:
    """Compare what stood on one side of a sign, which may have parts of its own."""
    wanted, given = structure(gold), structure(answer)
    return wanted is not None and given is not None and _same(wanted, given, algebra)


def _same_as_equation(gold: str, pieces: tuple[str, ...], algebra: Algebra) -> bool:
    """Compare an equation with a gold that is none: the last side counts, each one before is a name or as right."""
    return _same_piece(gold, pieces[-1], algebra) and all(
        is_name(piece) or _same_piece(gold, piece, algebra) for piece in pieces[:-1]
    )


def _exact_side(gold: str) -> str:
    r"""Return a gold answer without its rounded value, `12\pi` of `12\pi \approx 37.7`; of `x \approx 5` it is 5."""
    found = sides(gold)
    if APPROXIMATELY not in found.signs:
        return gold
    place = found.signs.index(APPROXIMATELY)
    return found.pieces[place + 1 if is_name(found.pieces[place]) else place]


def _same_and_rounded(gold: Sides, answer: Sides, algebra: Algebra) -> bool:
    r"""Compare an answer that gives its rounded value too, `x = 12\pi \approx 37.7`: the two must belong together.

    The exact side counts; the rounded one does where the gold answer is a decimal, which is a rounded value itself.
    """
    pieces = list(answer.pieces)
    if is_name(pieces[0]) and answer.signs[0] == APPROXIMATELY:
        answer = Sides(answer.pieces, (EQUAL_TO, *answer.signs[1:]))
        if APPROXIMATELY not in answer.signs:
            return _same_atom(_joined(gold), _joined(answer), algebra)
    if not set(answer.signs) <= {EQUAL_TO, APPROXIMATELY}:
        return False
    place = answer.signs.index(APPROXIMATELY)
    exact, rounded = pieces[place], pieces[place + 1 :]
    if len(pieces) == 2 and _is_decimal(exact) and not _is_rounded(rounded[0]):  # 0.333 \approx 1/3
        return _same_and_rounded(gold, Sides(answer.pieces[::-1], answer.signs), algebra)
    if not all(_belong_together(exact, value) for value in rounded):
        return False
    if _same_atom(_joined(gold), _joined(Sides(answer.pieces[: place + 1], answer.signs[:place])), algebra):
        return True
    return _is_decimal(gold.pieces[-1]) and any(_same_piece(gold.pieces[-1], each, algebra) for each in rounded)


def _is_decimal(text: str) -> bool:
    number = plain_number(quantity(text).body)
    return number is not None and number.decimal


def _is_rounded(text: str) -> bool:
    """Say whether a value may be a rounded one: a decimal or a whole number."""
    number = plain_number(quantity(text).body)
    return number is not None and (number.decimal or number.value.denominator == 1)


def _joined(found: Sides) -> str:
    return "".join(f"{piece} {sign} " for piece, sign in zip(found.pieces, (*found.signs, ""), strict=True)).strip()


def _belong_together(exact: str, rounded: str) -> bool:
    """Say whether the second value is the first one, rounded or cut off at the digits that are written."""
    one, other = (
        re.sub(r"\\[lc]?dots|\.\.\.", "", quantity(side, counted=True).body).strip() for side in (exact, rounded)
    )
    place = unit_in_last_place(other)
    return place is not None and expressions.rounds_to(one, other, place)


def _same_relation(gold: Sides, answer: Sides, algebra: Algebra) -> bool:
    """Compare equations and inequalities: by their names, as multiples of one another, or by computer algebra."""
    equations = gold.only(EQUAL_TO) and answer.only(EQUAL_TO)
    if equations and (verdict := _same_by_name(gold, answer, algebra)) is not None:
        return verdict
    if len(gold.pieces) != len(answer.pieces) or not all(map(_is_single, (*gold.pieces, *answer.pieces))):
        return False
    pairs = [_links(gold), _links(answer)]
    verdicts = [expressions.same_relations(one, other) for one, other in zip(*pairs, strict=True)]
    if None not in verdicts:
        return False not in verdicts
    if False in verdicts or not equations:
        return False
    return by_algebra(algebra)(_joined(gold), _joined(answer))


def _is_single(piece: str) -> bool:
    """Say whether one side of a relation is a single expression, no tuple or list."""
    node = structure(piece)
    return node is not None and node.kind == ATOM


def _same_by_name(gold: Sides, answer: Sides, algebra: Algebra) -> bool | None:
    """Compare `name = value` with `name = value`; None where one is no such equation, or only the names differ."""
    (wanted, value), (given, *values) = (gold.pieces[0], gold.pieces[-1]), answer.pieces
    solved = names_one_thing(wanted) and names_one_thing(given) and not _occurs(wanted, values) and given not in value
    if not (solved or same_name(wanted, given)):
        return None
    if all(_same_piece(value, piece, algebra) for piece in values):
        return True if same_name(wanted, given) else None
    return False if solved else None


def _occurs(name: str, pieces: list[str]) -> bool:
    return any(name in piece for piece in pieces)


def _links(found: Sides) -> list[tuple[str, str, str]]:
    """Return each sign with what stands beside it, from the lesser to the greater in a chain of inequalities."""
    links = list(zip(found.pieces, found.signs, found.pieces[1:], strict=False))
    return links[::-1] if len(links) > 1 and found.signs[0] in (">", r"\ge") else links
