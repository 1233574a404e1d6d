r"""Whether an answer means what the gold answer means: structure and text here, single expressions by computer algebra.

The algebra is handed in (`wapo_verl.environments.math.algebra` in the worker processes): this file imports none, so the
process that trains can settle with it what needs no algebra, which is most answers. Order matters: gold first, answer
second.

What is settled here because math-verify 0.9 gets it wrong or takes it lightly (each is a case in the tests):

- `204_5` and `204_6` are the same to it: digits and base must both agree, only the base may be left out.
- `-2, 1, 1` is `1, -2` to it, and `(2,3)` is `2, 3`: parts are counted, brackets are compared, sets keep no order.
- `2x+3=5` is 5 to it, as is any equation that ends in 5: what stands left of the last `=` must be a name or be equal
  (`==`, `\equiv` and `\approx` are equals signs here). So it is with golds: `x+y=5` is 5 to it, `x=2, y=3` is `3, 2`.
- `0.0000002` is `0.0000001` to it (six places, absolute): the tolerance is relative too, for golds below 1.
- `3r^2` is `3R^2` to it: small and capital letters are different variables.
- `5t` is 5 to it, and 10 minutes are 10 seconds: units are taken from a table, and two that differ are refused; what is
  counted ("13 boxes") is taken off where the gold is a number.
- `50\%` is nothing to it: it is 1/2, and it is 50 where the gold is a number of at least 1 (the sign was asked for).
- `-2 \le x \le 7` is not `[-2,7]` to it; a word is the product of its letters, whatever their order.
- `6 7` is 13 to it, and `0.\overline{3}` nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from wapo_verl.environments.math.forms import clean, is_balanced, is_readable, plain_number, same_number, without_spaces
from wapo_verl.environments.math.quantities import (
    PERCENT,
    Quantity,
    based_numeral,
    choice,
    in_text,
    quantity,
    units_differ,
    words,
)
from wapo_verl.environments.math.structure import ATOM, ORDERED, UNORDERED, Node, structure

EQUAL, DIFFERENT, UNPARSED, GOLD_UNPARSED = "equal", "different", "unparsed", "gold_unparsed"

Algebra = Callable[[str, str], bool]
"""Whether two expressions are equal, gold first; raises Unreadable."""


class Unreadable(ValueError):
    """An expression that cannot be parsed or compared: the gold one (``gold=True``) or the answer's."""

    def __init__(self, text: str, gold: bool) -> None:
        super().__init__(f"cannot read {'the gold answer' if gold else 'the answer'} {text[:200]!r}")
        self.gold = gold


def compare(gold: str, answer: str, algebra: Algebra) -> str:
    """One of ``EQUAL``, ``DIFFERENT``, ``UNPARSED`` (the answer's doing) and ``GOLD_UNPARSED``.

    Args:
        gold: as written, without what surrounds it (see ``wapo_verl.environments.math.extraction``).
        answer: likewise.
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
    wanted, given = structure(gold), structure(answer)
    if wanted is None or given is None:
        return GOLD_UNPARSED if wanted is None else UNPARSED
    try:
        return EQUAL if _same(wanted, given, algebra) else DIFFERENT
    except Unreadable as error:
        return GOLD_UNPARSED if error.gold else UNPARSED


def _same(gold: Node, answer: Node, algebra: Algebra) -> bool:
    if gold.kind == answer.kind == ATOM:
        wanted_range, given_range = _interval(gold.text), _interval(answer.text)
        if not (wanted_range and given_range and _letters(gold.text) == _letters(answer.text)):
            return _same_atom(gold.text, answer.text, algebra)
        gold, answer = wanted_range, given_range
    gold, answer = _alike(gold, answer), _alike(answer, gold)
    if gold.kind == answer.kind == ORDERED:
        parts = zip(gold.parts, answer.parts, strict=False)
        alike = gold.text == answer.text and len(gold.parts) == len(answer.parts)
        return alike and all(_same(wanted, given, algebra) for wanted, given in parts)
    if UNORDERED not in (gold.kind, answer.kind):
        return False
    wanted = list(gold.parts) if gold.kind == UNORDERED else [gold]
    given = list(answer.parts) if answer.kind == UNORDERED else [answer]
    if len(wanted) != len(given):
        return False
    if len({*map(_named, wanted)} - {None}) > 1 and None in map(_named, given):
        # x=2, y=3 may be given as 2, 3, and not as 3, 2.
        return all(_same(one, other, algebra) for one, other in zip(wanted, given, strict=True))
    return _matched(wanted, given, algebra)


def _matched(gold: list[Node], answer: list[Node], algebra: Algebra) -> bool:
    """Whether the parts can be paired; equality carries over, so the first match is as good as any."""
    for wanted in gold:
        found = next((given for given in answer if _same(wanted, given, algebra)), None)
        if found is None:
            return False
        answer.remove(found)
    return True


def _named(node: Node) -> str | None:
    """The name on an equation's left side; None for anything else."""
    sides = _sides(node.text) if node.kind == ATOM else []
    return without_spaces(sides[0]) if len(sides) == 2 and _is_name(sides[0]) else None


def _alike(node: Node, other: Node) -> Node:
    """``node`` ready to be compared with ``other``: an inequality beside an interval becomes one, names are dropped."""
    if node.kind == ATOM:
        sides = _sides(node.text)
        if len(sides) > 1 and all(map(_is_name, sides[:-1])):
            return structure(sides[-1]) or node
        return _interval(node.text) or node
    if node.kind == UNORDERED and any(part.kind == ORDERED for part in (*other.parts, other)):
        return Node(UNORDERED, "", tuple(_interval(part.text) or part for part in node.parts))
    return node


_RELATION = re.compile(r"(<=|>=|<|>|\\le(?![a-z])|\\ge(?![a-z])|\\lt(?![a-z])|\\gt(?![a-z]))")
_VARIABLE = re.compile(r"[a-zA-Z](?:_\{?[0-9a-z]\}?)?")


def _interval(text: str) -> Node | None:
    r"""The interval that `a < x \le b`, `x > a` or `a \ge x` is; None for anything else."""
    pieces = [piece.strip() for piece in _RELATION.split(text)]
    sides, signs = pieces[0::2], [sign.replace("<=", r"\le").replace(">=", r"\ge") for sign in pieces[1::2]]
    if len(sides) not in (2, 3) or not all(sides):
        return None
    if any(sign in (">", r"\ge", r"\gt") for sign in signs):
        sides, signs = sides[::-1], [{">": "<", r"\ge": r"\le", r"\gt": "<"}.get(sign, "") for sign in signs[::-1]]
    if not all(sign in ("<", r"\le", r"\lt") for sign in signs):
        return None
    place = next((place for place, side in enumerate(sides) if _VARIABLE.fullmatch(side)), None)
    if place is None or (len(sides) == 3 and place != 1):
        return None
    low, high = (sides[0] if place else r"-\infty"), (sides[-1] if place < len(sides) - 1 else r"\infty")
    opening = "[" if place and signs[0] == r"\le" else "("
    closing = "]" if place < len(sides) - 1 and signs[-1] == r"\le" else ")"
    return Node(ORDERED, opening + closing, (Node(ATOM, low), Node(ATOM, high)))


def _same_atom(gold: str, answer: str, algebra: Algebra) -> bool:
    if without_spaces(gold) == without_spaces(answer):
        return True
    letter, given_letter = choice(gold), choice(answer)
    if letter and (letter[1] or given_letter):
        return given_letter is not None and letter[0] == given_letter[0]
    if word := words(gold):
        return word == words(answer)
    gold, answer = in_text(gold) or gold, in_text(answer) or answer
    sides, given_sides = _sides(gold), _sides(answer)
    if len(given_sides) > 1 and len(sides) == 1:
        return _same_as_equation(gold, given_sides, algebra)
    if len(sides) == 2 and len(given_sides) == 1:
        if not _ONE_THING.fullmatch(sides[0]):  # x+y=5 is a relation, which a number is not
            return False
        gold = sides[1]
    return _same_quantity(
        quantity(gold), quantity(answer, counted=plain_number(quantity(gold).body) is not None), algebra
    )


def _same_as_equation(gold: str, sides: list[str], algebra: Algebra) -> bool:
    """An equation for a gold that is none: the last side counts, and each one before is a name or as right."""
    return all(_is_name(side) or _same_atom(gold, side, algebra) for side in sides[:-1]) and _same_atom(
        gold, sides[-1], algebra
    )


_EQUALS = re.compile(r"(?<![<>!:=\\])=(?!=)")
_DIGITS_OF_A_NAME = re.compile(
    r"_\{?[0-9a-zA-Z]+\}?|\^\{?[0-9]+\}?|(?<=[a-zA-Z])\(\s*-?[0-9]+(?:\s*,\s*-?[0-9]+)*\s*\)"
)


_ONE_THING = re.compile(
    r"(?:\\?[a-zA-Z]|\\[a-zA-Z]+|(?:\\angle\s*|m\s*\\angle\s*)?[A-Z]{2,4}|\\text\{[^{}]*\})"
    r"'*(?:_\{?[0-9a-zA-Z]+\}?)?(?:\([^()=]*\))?"
)
"""A gold equation's left side for which its right side alone is as good an answer: a variable, `f(x)`, `AB`."""


def _sides(text: str) -> list[str]:
    """What stands between equals signs outside brackets; one piece where there is none."""
    pieces = [piece.strip() for piece in _EQUALS.split(text)]
    whole = all(piece and is_balanced(piece) and piece.count("(") == piece.count(")") for piece in pieces)
    return pieces if whole else [text]


def _is_name(text: str) -> bool:
    r"""Whether a left side names what was asked for: `x`, `f(3)`, `a_1`, `a+b`, `AB`; not `2x+3`, not a number."""
    rest = _DIGITS_OF_A_NAME.sub("", text)
    return bool(re.search(r"[a-zA-Z]", rest)) and not re.search(r"[0-9]|\\(?:frac|sqrt|pi|infty)(?![a-z])", rest)


def _same_quantity(gold: Quantity, answer: Quantity, algebra: Algebra) -> bool:
    one_percent = (gold.unit == PERCENT) != (answer.unit == PERCENT)
    if units_differ(gold, answer) or (one_percent and (gold.unit and answer.unit)):
        return False
    wanted, given = plain_number(gold.body), plain_number(answer.body)
    if wanted and given:
        if not one_percent:
            return same_number(wanted, given)
        hundredth, whole = (wanted, given) if gold.unit else (given, wanted)
        asked_for = abs(wanted.value) >= 1 and same_number(wanted, given)
        return asked_for or hundredth.value * Fraction(1, 100) == whole.value
    numerals = based_numeral(gold.body), based_numeral(answer.body)
    if any(numerals):
        return _same_numeral(gold.body, answer.body)
    if not one_percent and without_spaces(gold.body) == without_spaces(answer.body):
        return True
    if _letters_differ_by_case(gold.body, answer.body):
        return False
    return algebra(gold.body, answer.body)


def _same_numeral(gold: str, answer: str) -> bool:
    wanted, given = based_numeral(gold), based_numeral(answer)
    if wanted and given:
        return wanted == given
    if wanted:
        return wanted[0] == answer.strip()
    return given is not None and given[1] == 10 and given[0] == gold.strip()


_COMMAND = re.compile(r"\\text\{[^{}]*\}|\\[a-zA-Z]+")


def _letters(text: str) -> set[str]:
    """The letters that are variables: those outside commands and text."""
    return set(re.findall("[a-zA-Z]", _COMMAND.sub(" ", text)))


def _letters_differ_by_case(gold: str, answer: str) -> bool:
    wanted, given = _letters(gold), _letters(answer)
    return wanted != given and {letter.lower() for letter in wanted} == {letter.lower() for letter in given}
