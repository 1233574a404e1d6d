r"""What stands around the expressions of an answer: lists, tuples, intervals, sets, unions, matrices, `\pm`.

Taking the structure apart settles what computer algebra gets wrong or takes too lightly: the order of a tuple, open
against closed ends, a root left out or given twice, several answers where one was asked for. Pure text, linear in it
but for lists nested in lists.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

from wapo_verl.environments.math.cleaning import without_box
from wapo_verl.environments.math.figures import in_figures
from wapo_verl.environments.math.forms import plain_number

UNORDERED, ORDERED, ATOM = "unordered", "ordered", "atom"
MATRIX, ROW, RATIO = "matrix", "row", ":"
AND, COMMA = "and", ","
MOST_PARTS = 64
_DEEPEST = 8


@dataclass(frozen=True, slots=True)
class Node:
    r"""One piece of an answer.

    Attributes:
        kind: ``UNORDERED`` (a list, a set, a union: order is nothing), ``ORDERED`` (a tuple, an interval, a matrix),
            ``ATOM``.
        text: an atom's expression; of an ordered one its brackets, for example "[)", or ``MATRIX`` (whose parts are
            rows), ``ROW`` or ``RATIO``; "pm" of the two values of a plus-minus; ``AND`` of a list that is joined by
            "and" alone, ``COMMA`` of another without "or"; else "".
        parts: the pieces of the other two.
        variable: whose values they are, where that is said: the x of `x \in (2, 3)`.
    """

    kind: str
    text: str = ""
    parts: tuple[Node, ...] = ()
    variable: str = ""


_TOKENS = re.compile(
    r"\\begin\{[a-z]*\*?\}|\\end\{[a-z]*\*?\}|\\langle|\\rangle|\\(?:cup|lor|land|vee|wedge)(?![a-z])|\\\\|\\[{}]"
    r"|\\text\{\s*,?\s*(?:and|or)\s*\}|\\.|(?<![a-zA-Z])(?:and|or)(?![a-zA-Z])|(?<=[\s)\]])U(?=[\s(\[])|[()\[\]{},;:&]"
)
_OPENING = ("(", "[", "{", r"\{", r"\langle")
_CLOSING = (")", "]", "}", r"\}", r"\rangle")
_JOINING = {r"\lor": "or", r"\vee": "or", r"\land": "and", r"\wedge": "and", "U": r"\cup"}
_THOUSANDS = re.compile(r"(?<![0-9.,])([1-9][0-9]{0,2})((?:,[0-9]{3})+)(?![0-9,])")
_NAME = r"(?:[a-zA-Z]|\\[a-zA-Z]+\s*)(?:_(?:\{[^{}]*\}|[0-9a-zA-Z]))?"
_MEMBER = re.compile(rf"\s*(?P<name>{_NAME})\s*(?:\\in(?![a-z])|(?<=\s)in(?=[\s\\({{\[]))\s*(?P<set>.*)", re.DOTALL)
_PLUS_MINUS = re.compile(r"\\pm(?![a-z])")
_MINUS_PLUS = re.compile(r"\\mp(?![a-z])")
_WITHOUT = re.compile(
    r"\(-\\infty,\\infty\)\s*(?:\\setminus|\\backslash|\\smallsetminus|-)\s*\\?\{(?P<points>.+?)\\?\}"
)
_EMPTY = re.compile(r"\\emptyset|\\?\{\s*\\?\}")
_MATRIX = re.compile(
    r"(?P<factor>[^&,;]*?)(?:\\cdot|\\times)?\s*[(\[]?\s*\\begin\{(?P<name>[pbB]?matrix|smallmatrix|array|cases)\*?\}(?:\{[lcr|]*\})?"
    r"(?P<inside>.*)\\end\{(?P=name)\*?\}\s*[)\]]?",
    re.DOTALL,
)
_FACTOR = re.compile(r"-?(?:[0-9.a-zA-Z\s/]|\\(?:frac|sqrt)(?:[0-9a-z]|\{[-0-9a-z]++\}){1,2}+)*+")
"""A number or a letter before a matrix; nothing here is tried twice, so that no text takes long."""
_TRANSPOSED = re.compile(r"([(\[].*[)\]])\s*\^\s*\{?\s*(?:T|\\top|\\intercal|\\text\{T\})\s*\}?", re.DOTALL)
_CONDITION = re.compile(
    rf"\s*(?P<name>{_NAME})\s*(?:\\in\s*(?:\(-\\infty,\\infty\)|R(?![a-zA-Z])))?"
    r"\s*(?:\||:|\\mid|\\vert|\\colon)\s*(?P<condition>.*)",
    re.DOTALL,
)
_ORDER = re.compile(r"[<>]|\\[lg]eq?(?![a-z])")


@lru_cache(maxsize=4_096)
def structure(text: str, depth: int = 0) -> Node | None:
    """Return the structure of a cleaned answer; None where brackets do not close, or there are too many parts."""
    text = in_figures(without_box(text.strip()))
    if depth > _DEEPEST:
        return None
    if (member := _MEMBER.fullmatch(text)) and depth == 0:
        values = structure(member["set"].strip(), depth + 1)
        return values and replace(values, variable="".join(member["name"].split()))
    if depth == 0 and (described := _CONDITION.fullmatch(text)) and _restricts(described):
        return structure(described["condition"], depth + 1)
    if _EMPTY.fullmatch(text):
        return Node(UNORDERED)
    if depth == 0:
        text = _THOUSANDS.sub(lambda number: number[0].replace(",", ""), text) if not _has_brackets(text) else text
    for separators in ((",", ";", "and", "or"), (r"\cup",)):
        pieces = split(text, separators)
        if pieces is None or len(pieces) > MOST_PARTS:
            return None
        if len(pieces) > 1:
            return _node(UNORDERED, _joint(text), pieces, depth)
    return (
        _matrix(text, depth)
        or _punctured_line(text)
        or _bracketed(text, depth)
        or _several(text, depth)
        or _plus_minus(text)
        or Node(ATOM, text)
    )


def _joint(text: str) -> str:
    """Say what joins the parts of a list or union."""
    if len(split(text, ("or", r"\cup")) or ()) > 1:
        return ""
    return COMMA if len(split(text, (",", ";")) or ()) > 1 else AND


def line_without(points: list[str]) -> Node:
    """Return the real numbers without some points, which are in order: the open intervals between them."""
    ends = [r"-\infty", *points, r"\infty"]
    return Node(UNORDERED, "", tuple(Node(ORDERED, "()", (Node(ATOM, a), Node(ATOM, b))) for a, b in pairwise(ends)))


def _punctured_line(text: str) -> Node | None:
    r"""Read `\mathbb{R}\setminus\{a\}`; several points must be plain numbers, which have an order."""
    found = _WITHOUT.fullmatch(text)
    points = [point.strip() for point in split(found["points"], (",", ";")) or []] if found else []
    numbers = {point: number.value for point in points if (number := plain_number(point))}
    if len(points) > 1 and len(numbers) < len(points):
        return None
    return line_without(sorted(points, key=lambda point: numbers.get(point, Fraction(0)))) if points else None


def _restricts(described: re.Match[str]) -> bool:
    """Say whether `x : x > 1`, a set whose braces were taken off, is one: its condition orders what it names."""
    return _is_about_its_element(described) and bool(_ORDER.search(described["condition"]))


def _is_about_its_element(described: re.Match[str]) -> bool:
    return described["name"].strip() in described["condition"]


def split(text: str, separators: tuple[str, ...]) -> list[str] | None:
    """Return the pieces of ``text`` between separators outside all brackets; None where brackets do not close.

    A piece that would be blank beside an "and" or "or" is none ("1, 2, and 3").
    """
    pieces: list[str] = []
    depth, start, joined = 0, 0, False
    for match in _TOKENS.finditer(text):
        token = match[0]
        word = next((name for name in ("and", "or") if name in token), token) if "text" in token else token
        word = _JOINING.get(word, word)
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
    r"""Return the parts, where a part of a list that is `a \pm b` counts as its two values."""
    if kind == ORDERED:
        return tuple(parts)
    return tuple(
        value for part in parts for value in (part.parts if part.kind == UNORDERED and part.text == "pm" else (part,))
    )


def _matrix(text: str, depth: int) -> Node | None:
    """Read a matrix, which is a tuple of rows; a brace of cases without conditions is a list."""
    found = _MATRIX.fullmatch(text)
    if found is None:
        return None
    lines = [line for line in split(found["inside"], (r"\\",)) or [] if line.replace(r"\hline", "").strip()]
    if found["name"] == "cases":
        return None if "&" in found["inside"] else _node(UNORDERED, "", lines, depth)
    rows = [split(line.replace(r"\hline", ""), ("&",)) for line in lines]
    if factor := found["factor"].strip():
        if not _FACTOR.fullmatch(factor):
            return None
        rows = [row and [f"{factor}({entry})" for entry in row] for row in rows]
    if not rows or sum(len(row or ()) for row in rows) > MOST_PARTS:
        return None
    nodes = [_node(ORDERED, ROW, row, depth + 1) if row else None for row in rows]
    known = tuple(node for node in nodes if node is not None)
    return Node(ORDERED, MATRIX, known) if len(known) == len(nodes) else None


def _bracketed(text: str, depth: int) -> Node | None:
    """Read a tuple, interval or set: one pair of brackets around it all, and for a tuple at least two parts in it."""
    transposed = _TRANSPOSED.fullmatch(text)
    text = transposed[1] if transposed else text
    for opening, closing, kind in (
        *((a, b, ORDERED) for a in ("(", "[") for b in (")", "]")),
        (r"\langle", r"\rangle", ORDERED),
        (r"\{", r"\}", UNORDERED),
        ("{", "}", UNORDERED),
    ):
        inside = text[len(opening) : -len(closing)]
        if text.startswith(opening) and text.endswith(closing) and not text.endswith("\\" + closing):
            described = _CONDITION.fullmatch(inside) if kind == UNORDERED else None
            if described and _is_about_its_element(described):
                return structure(described["condition"], depth + 1)
            pieces = split(inside, (",", ";")) or []
            if opening == "{" and len(pieces) == 1:
                return structure(inside, depth + 1)
            if (1 if kind == UNORDERED else 2) <= len(pieces) <= MOST_PARTS:
                return _node(kind, opening + closing if kind == ORDERED else "", pieces, depth)
    return None


def _several(text: str, depth: int) -> Node | None:
    """Read a ratio of three numbers or more; one of two is a fraction."""
    pieces = split(text, (":",)) or []
    return (
        _node(ORDERED, RATIO, pieces, depth) if 2 < len(pieces) <= MOST_PARTS and all(map(str.strip, pieces)) else None
    )


def _plus_minus(text: str) -> Node | None:
    if len(_PLUS_MINUS.findall(text)) != 1:
        return None
    values = tuple(
        Node(ATOM, _MINUS_PLUS.sub(other, _PLUS_MINUS.sub(sign, text)).strip())
        for sign, other in (("+", "-"), ("-", "+"))
    )
    return Node(UNORDERED, "pm", values)


def _has_brackets(text: str) -> bool:
    return any(token in text for token in ("(", "[", r"\{", r"\langle", r"\begin")) or text.startswith("{")
