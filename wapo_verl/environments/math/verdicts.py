"""The words for what became of an answer, and the error of an expression that nobody can read."""

from __future__ import annotations

from collections.abc import Callable

EQUAL, DIFFERENT, UNPARSED, GOLD_UNPARSED = "equal", "different", "unparsed", "gold_unparsed"

Algebra = Callable[[str, str], bool]
"""Whether two expressions are equal, gold first, by computer algebra; raises Unreadable."""


class Unreadable(ValueError):
    """An expression that cannot be parsed or compared: the gold one (``gold=True``) or the answer's."""

    def __init__(self, text: str, gold: bool) -> None:
        super().__init__(f"cannot read {'the gold answer' if gold else 'the answer'} {text[:200]!r}")
        self.gold = gold
