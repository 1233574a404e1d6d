"""What stands around the expressions of an answer: lists, tuples, intervals, sets, unions, `\\pm`.

A computer algebra system is handed single expressions only. Taking the structure apart here settles what it gets wrong
or takes too lightly: the order of a tuple, open against closed ends, a root left out or given twice, several answers
where one was asked for. Pure text, linear in it but for lists nested in lists.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

UNORDERED, ORDERED, ATOM = "unordered", "ordered", "atom"
MOST_PARTS = 64
_DEEPEST = 8


@dataclass(frozen=True, slots=True)
class Node:
    """One piece of an answer.

    Attributes:
        kind: ``UNORDERED`` (a list, a set, a union: order is nothing), ``ORDERED`` (a tuple or an interval), ``ATOM``.
        text: an atom's expression; the brackets of an ordered one, for example "[)"; else "".
        parts: the pieces of the other two.
    """

    kind: str
    text: str = ""
    parts: tuple[Node, ...] = ()


_TOKENS = re.compile(
    r"\\begin\{[a-z]*\*?\}|\\end\{[a-z]*\*?\}|\\langle|\\rangle|\\cup(?![a-z])|\\[{}]|\\text\{\s*(?:and|or)\s*\}"
    r"|\\.|(?<![a-zA-Z])(?:and|or)(?![a-zA-Z])|[()\[\]{},;]"
)
_OPENING = ("(", "[", "{", r"\{", r"\langle")
_CLOSING = (")", "]", "}", r"\}", r"\rangle")
_THOUSANDS = re.compile(r"(?<![0-9.,])([1-9][0-9]{0,2})((?:,[0-9]{3})+)(?![0-9,])")
_MEMBER = re.compile(r"\s*[a-zA-Z](?:_\{?[0-9a-z]\}?)?\s*\\in(?![a-z])\s*(.*)", re.DOTALL)
_PLUS_MINUS = re.compile(r"\\pm(?![a-z])")
_EMPTY = re.compile(r"\\emptyset|\\\{\s*\\\}")


def structure(text: str, depth: int = 0) -> Node | None:
    """The structure of a cleaned answer; None where brackets do not close, or there are too many parts."""
    member = _MEMBER.fullmatch(text)
    text = (member[1] if member else text).strip()
    if depth > _DEEPEST:
        return None
    if _EMPTY.fullmatch(text):
        return Node(UNORDERED)
    if depth == 0 or member:
        text = _THOUSANDS.sub(lambda number: number[0].replace(",", ""), text) if not _has_brackets(text) else text
    for separators in ((",", ";", "and", "or"), (r"\cup",)):
        pieces = split(text, separators)
        if pieces is None or len(pieces) > MOST_PARTS:
            return None
        if len(pieces) > 1:
            return _node(UNORDERED, "", pieces, depth)
    return _bracketed(text, depth) or _plus_minus(text) or Node(ATOM, text)


def split(text: str, separators: tuple[str, ...]) -> list[str] | None:
    """The pieces of ``text`` between separators that stand outside all brackets; None where brackets do not close.

    A piece that would be blank beside an "and" or "or" is none ("1, 2, and 3").
    """
    pieces: list[str] = []
    depth, start, joined = 0, 0, False
    for match in _TOKENS.finditer(text):
        token = match[0]
        word = next((name for name in ("and", "or") if name in token), token) if "text" in token else token
        if token in _OPENING or token.startswith(r"\begin"):
            depth += 1
        elif token in _CLOSING or token.startswith(r"\end"):
            depth -= 1
            if depth < 0:
                return None
        elif depth == 0 and word in separators:
            piece = text[start : match.start()]
            if piece.strip() or not (joined or word in ("and", "or")) or not pieces:
                pieces.append(piece)
            start, joined = match.end(), word in ("and", "or")
    if depth:
        return None
    return [*pieces, text[start:]]


def _node(kind: str, brackets: str, pieces: list[str], depth: int) -> Node | None:
    parts = [structure(piece.strip(), depth + 1) for piece in pieces]
    if any(part is None or part == Node(ATOM) for part in parts):
        return None
    return Node(kind, brackets, _flat(kind, [part for part in parts if part is not None]))


def _flat(kind: str, parts: list[Node]) -> tuple[Node, ...]:
    """The parts, where a part of a list that is `a \\pm b` counts as its two values."""
    if kind == ORDERED:
        return tuple(parts)
    return tuple(
        value for part in parts for value in (part.parts if part.kind == UNORDERED and part.text == "pm" else (part,))
    )


def _bracketed(text: str, depth: int) -> Node | None:
    """A tuple, interval or set: one pair of brackets around it all, and for a tuple at least two parts in it."""
    for opening, closing, kind in (
        *((a, b, ORDERED) for a in ("(", "[") for b in (")", "]")),
        (r"\langle", r"\rangle", ORDERED),
        (r"\{", r"\}", UNORDERED),
    ):
        inside = text[len(opening) : -len(closing)]
        if text.startswith(opening) and text.endswith(closing) and not text.endswith("\\" + closing):
            pieces = split(inside, (",", ";")) or []
            if (1 if kind == UNORDERED else 2) <= len(pieces) <= MOST_PARTS:
                return _node(kind, opening + closing if kind == ORDERED else "", pieces, depth)
    return None


def _plus_minus(text: str) -> Node | None:
    if len(_PLUS_MINUS.findall(text)) != 1:
        return None
    values = tuple(Node(ATOM, _PLUS_MINUS.sub(sign, text).strip()) for sign in ("+", "-"))
    return Node(UNORDERED, "pm", values)


def _has_brackets(text: str) -> bool:
    return any(token in text for token in ("(", "[", r"\{", r"\langle", r"\begin"))
