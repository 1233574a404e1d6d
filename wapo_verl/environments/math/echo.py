r"""An answer that is copied out of the problem: of the right value, and no answer.

A problem that asks what an expression is worth holds its own answer, as computer algebra sees it: of the first 250 of
MATH-500, 16 were paid for one of their own formulas (`99^2+99+1` for 9901). A policy finds that sooner than arithmetic.
The same formula with its terms turned round is not copied: it is equal by algebra like any other.
"""

from __future__ import annotations

import re
from functools import lru_cache

from wapo_verl.environments.math.choices import option, words
from wapo_verl.environments.math.cleaning import clean
from wapo_verl.environments.math.forms import is_readable, plain_number
from wapo_verl.environments.math.grammar import readings
from wapo_verl.environments.math.quantities import quantity
from wapo_verl.environments.math.relations import sides
from wapo_verl.environments.math.structure import ATOM, structure
from wapo_verl.environments.math.tokens import LETTER, NAME, NUMBER, SIGN, Malformed, Unsupported, tokens
from wapo_verl.environments.math.trees import shape

_MEANS_NOTHING = frozenset(("cdot", "times", "*"))
_SIGNS = frozenset("+-/^!")
_FORMULAS = re.compile(r"\$\$?|\\[()\[\]]")
Piece = tuple[str, str]
"""Kind and text of a token."""


def is_copied(answer: str, problem: str, gold: str) -> bool:
    r"""Say whether an answer is an expression that stands in the problem and is written otherwise than the gold answer.

    Spaces, multiplication signs and brackets around the whole mean nothing. Numbers with or without a unit, words,
    choices, equations and whatever has parts are never copied: these may stand in a problem and be the answer. So may
    the gold answer itself in other writing, `\pi/2` for `\frac{\pi}{2}`.
    """
    answer, gold = clean(answer), clean(gold)
    if not is_readable(answer):
        return False
    if sides(answer).signs or option(answer) or words(answer) or plain_number(quantity(answer, counted=True).body):
        return False
    whole = structure(answer)
    if whole is None or whole.kind != ATOM:
        return False
    pattern = _without_brackets(_pieces(answer))
    if not any(_is_operation(piece) for piece in pattern) or pattern == _without_brackets(_pieces(gold)):
        return False
    return not _same_writing(answer, gold) and any(_stands_in(pattern, part) for part in _parts(problem))


def _is_operation(piece: Piece) -> bool:
    return piece[0] == NAME or piece[1] in _SIGNS or piece[1] in ("(", r"\%")


@lru_cache(maxsize=1_024)
def _parts(problem: str) -> tuple[tuple[Piece, ...], ...]:
    """Return the problem's formulas and, between them, its prose, in which formulas may stand too."""
    parts = _FORMULAS.split(problem)
    return tuple(_pieces(clean(part), prose=len(parts) == 1 or place % 2 == 0) for place, part in enumerate(parts))


def _pieces(text: str, prose: bool = False) -> tuple[Piece, ...]:
    """Return the tokens of a text without what means nothing: multiplication signs, braces around one token."""
    found = [(token.kind, token.text) for token in tokens(text, prose) if token.text not in _MEANS_NOTHING]
    kept: list[Piece] = []
    for place, piece in enumerate(found):
        braced = piece[1] == "{" and found[place + 2 : place + 3] == [(SIGN, "}")]
        closing = piece[1] == "}" and found[place - 2 : place - 1] == [(SIGN, "{")]
        if not (braced or closing):
            kept.append(piece)
    return tuple(kept)


def _same_writing(answer: str, gold: str) -> bool:
    """Say whether two expressions, units and names aside, are the same but for order and ways to write a fraction."""
    bodies = (quantity(answer, counted=True).body, quantity(sides(gold).pieces[-1]).body)
    try:
        one, other = (shape(readings(body)[0]) for body in bodies)
    except (Malformed, Unsupported):
        return False
    return one == other


def _stands_in(pattern: tuple[Piece, ...], text: tuple[Piece, ...]) -> bool:
    """Say whether the pattern is a piece of the text that nothing beside it pulls apart: `x+1` is not in `3x+1`."""
    width = len(pattern)
    depths = _depths(pattern)
    is_sum = any(piece[1] in ("+", "-") and depth == 0 for piece, depth in zip(pattern[1:], depths[1:], strict=True))
    for start in range(len(text) - width + 1):
        if text[start : start + width] == pattern:
            before = text[start - 1] if start else (SIGN, "")
            after = text[start + width] if start + width < len(text) else (SIGN, "")
            if not _binds(before, is_sum, before_it=True) and not _binds(after, is_sum, before_it=False):
                return True
    return False


def _binds(piece: Piece, is_sum: bool, before_it: bool) -> bool:
    """Say whether a neighbour belongs to the expression's end more tightly than the expression holds together."""
    if piece[1] in (("^", "_") if before_it else ("^", "_", "!")):
        return True
    joined = piece[0] in (NUMBER, LETTER) or piece[1] in ("/", ")" if before_it else "(")
    return is_sum and joined


def _depths(pieces: tuple[Piece, ...]) -> list[int]:
    depths, depth = [], 0
    for _, text in pieces:
        depth += {"(": 1, "{": 1, "[": 1, ")": -1, "}": -1, "]": -1}.get(text, 0)
        depths.append(depth)
    return depths


def _without_brackets(pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    while len(pieces) > 2 and pieces[0][1] == "(" and 0 not in _depths(pieces)[:-1]:
        pieces = pieces[1:-1]
    return pieces
