r"""An answer that is copied out of the problem: of the right value, and no answer.

A problem that asks what an expression is worth holds its own answer, as computer algebra sees it: of the first 250 of
MATH-500, 16 were paid for one of their own formulas (`99^2+99+1` for 9901). A policy finds that sooner than arithmetic.
Left out: an expression that is written otherwise than the problem has it, terms turned round for example. That is
equal by algebra like any other.
"""

from __future__ import annotations

import re

from wapo_verl.environments.math.forms import clean, plain_number
from wapo_verl.environments.math.quantities import choice, quantity, words
from wapo_verl.environments.math.structure import ATOM, structure

_OPERATION = re.compile(r"[-+*/^!]|\\[a-zA-Z]|\)\(|[0-9]\(")
_RELATION = re.compile(r"[=<>]|\\(?:le|ge|lt|gt|in)(?![a-z])")
_MEANS_NOTHING = re.compile(r"\s+|\*|\\(?:cdot|times)(?![a-zA-Z])")


def is_copied(answer: str, problem: str, gold: str) -> bool:
    """Whether an answer is an expression that stands in the problem, spaces, multiplication signs and brackets aside.

    Never so for the gold answer's own text, numbers with or without a unit, words, choices, equations and whatever has
    parts: these may stand in a problem and be the answer.
    """
    answer = clean(answer)
    if not _OPERATION.search(answer) or _RELATION.search(answer):
        return False
    bare = _bare(answer)
    if bare == _bare(clean(gold)):
        return False
    if choice(answer) or words(answer) or plain_number(quantity(answer, counted=True).body):
        return False
    whole = structure(answer)
    return whole is not None and whole.kind == ATOM and bare in _bare(clean(problem))


def _bare(cleaned: str) -> str:
    """A cleaned text without what means nothing, and without brackets around the whole."""
    text = _MEANS_NOTHING.sub("", cleaned)
    while text.startswith("(") and text.endswith(")") and _closes_last(text):
        text = text[1:-1]
    return text


def _closes_last(text: str) -> bool:
    """Whether the bracket that the text begins with is closed by its last character."""
    depth = 0
    for place, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return place == len(text) - 1
    return False
