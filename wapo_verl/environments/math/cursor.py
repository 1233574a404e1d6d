"""A place in a list of tokens, and what can be read there that holds no expression."""

from __future__ import annotations

import re

from wapo_verl.environments.math.tokens import NUMBER, SIGN, Malformed, Token

DEEPEST = 40
END = Token(SIGN, "")
_TWO_NUMBERS = re.compile(r"(?:1|\{1+\})(?:1|\{1+\})")


class Cursor:
    """The tokens of an expression and how far they are read.

    Attributes:
        tokens: all of them.
        place: how many are read.
        depth: how deeply what is being read is nested.
    """

    def __init__(self, found: list[Token]) -> None:
        self.tokens = found
        self.place = 0
        self.depth = 0

    def next(self, ahead: int = 0) -> Token:
        """Return the next token, or one further on; ``END`` after the last."""
        place = self.place + ahead
        return self.tokens[place] if place < len(self.tokens) else END

    def take(self) -> Token:
        """Return the next token and move on."""
        token = self.next()
        self.place += 1
        return token

    def at(self, text: str) -> bool:
        """Say whether the next token is this."""
        return self.next().text == text

    def expect(self, text: str) -> None:
        """Move on over a token that must be this.

        Raises:
            Malformed: where it is another.
        """
        if not self.at(text):
            raise Malformed(f"{self.next().text!r} where {text!r} must stand")
        self.place += 1

    def go_deeper(self) -> None:
        """Count one more level of nesting.

        Raises:
            Malformed: beyond ``DEEPEST``.
        """
        self.depth += 1
        if self.depth > DEEPEST:
            raise Malformed("nested too deeply")

    def subscript(self) -> str:
        """Return a subscript as part of a name; "" where there is none."""
        if not self.at("_"):
            return ""
        self.take()
        token = self.take()
        if token.text != "{":
            if token.kind == SIGN:
                raise Malformed("no subscript after _")
            return f"_{token.text}"
        parts, depth = [], 1
        while depth:
            token = self.take()
            if token is END:
                raise Malformed("a subscript that is not closed")
            depth += {"{": 1, "}": -1}.get(token.text, 0)
            parts.append(token.text)
        return "_" + "".join(part for part in parts if part not in "{}" and part not in ("text", "mathrm"))

    def at_plain_fraction(self) -> bool:
        r"""Say whether the `\frac` that comes next is one of whole numbers, and the number before it stands free."""
        before = self.tokens[self.place - 2].text if self.place > 1 else ""
        after = self.tokens[self.place + 1 : self.place + 7]
        written = "".join("1" * len(token.text) if token.kind == NUMBER else token.text for token in after)
        return before not in ("^", "_", "/") and _TWO_NUMBERS.match(written) is not None
