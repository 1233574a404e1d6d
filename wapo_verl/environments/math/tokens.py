r"""An expression's text cut into tokens: numbers, letters, names of functions and constants, signs, brackets.

LaTeX (`\sin x`, `\frac12`) and plain text (`sin(x)`, `2*pi`, `sqrt(3)/2`) come out alike. Nothing is evaluated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


class Malformed(ValueError):
    """A text that is no expression in any usual way of writing."""


class Unsupported(ValueError):
    """A text that may well be an expression, but of a kind that this grammar does not know (an integral, a matrix)."""


NUMBER, NAME, LETTER, SIGN, WORD = "number", "name", "letter", "sign", "word"


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of text.

    Attributes:
        kind: ``NUMBER``, ``NAME`` (of a function, constant or Greek letter, or a LaTeX command), ``LETTER``, ``SIGN``,
            or in prose ``WORD``.
        text: the piece; a name has no backslash.
        plain: whether it is a name in plain text, which takes arguments in round brackets.
        spaced: whether white space stands before it.
    """

    kind: str
    text: str
    plain: bool = False
    spaced: bool = False


_TRIGONOMETRIC_NAMES = "sin cos tan cot sec csc sinh cosh tanh coth sech csch"
TRIGONOMETRIC = frozenset(_TRIGONOMETRIC_NAMES.split())
_ARCS = frozenset(f"arc{name}" for name in ["sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh"])
_OTHER_FUNCTIONS = "ln log lg exp abs floor ceil sgn gcd lcm max min cis factorial"
FUNCTIONS = TRIGONOMETRIC | _ARCS | frozenset(_OTHER_FUNCTIONS.split())
SYNONYMS = {
    **{f"a{name}": f"arc{name}" for name in ["sin", "cos", "tan", "sinh", "cosh", "tanh"]},
    **{f"ar{name}": f"arc{name}" for name in ["sinh", "cosh", "tanh"]},
    **{"cosec": "csc", "tg": "tan", "ctg": "cot", "arctg": "arctan", "sign": "sgn", "ceiling": "ceil", "Abs": "abs"},
    **{"varepsilon": "epsilon", "vartheta": "theta", "varphi": "phi", "varrho": "rho", "varsigma": "sigma"},
    **{"infinity": "infty", "inf": "infty", "oo": "infty", "Pi": "pi", "PI": "pi", "imath": "i"},
    **{"lvert": "vert", "rvert": "vert", "binomial": "binom", "comb": "binom", "nCr": "binom"},
}  # fmt: skip
_GREEK_NAMES = """
    alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega
    Gamma Delta Theta Lambda Xi Sigma Upsilon Phi Psi Omega ell hbar
"""
GREEK = frozenset(_GREEK_NAMES.split())
_PLAIN = {*FUNCTIONS, *SYNONYMS, *GREEK, "pi", "sqrt", "cbrt", "infty", "binom"} - {"vert", "hbar", "ell"}
_ALONE_ONLY_NAMES = "mu nu xi eta rho tau chi psi phi inf oo tg lg min max abs Abs cis PI Pi sign ell comb nCr"
_ALONE_ONLY = frozenset(_ALONE_ONLY_NAMES.split())
"""Names that a run of letters must be as a whole: in a longer one they are letters multiplied."""
_WITHIN = sorted(_PLAIN - _ALONE_ONLY, key=len, reverse=True)
_WITHIN_RUN = re.compile("|".join(_WITHIN))

_TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<thousands>[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9,]))|(?P<number>[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
    r"|\\(?P<command>[a-zA-Z]+)|(?P<letters>[a-zA-Z]+)|(?P<sign>\\[{}|%!]|\S)"
)
_SIGNS = frozenset("+-*/^_()[]{}|!,:'") | {r"\%"}
_SPACING_NAMES = "displaystyle textstyle limits nolimits quad qquad bigl bigr Bigl Bigr big Big"
SPACING = frozenset(_SPACING_NAMES.split())


def tokens(text: str, prose: bool | None = None) -> list[Token]:
    """Return the tokens of a cleaned expression.

    Args:
        text: the expression.
        prose: take any character; where true, three letters and more are words, of which no expression is made.

    Raises:
        Malformed: for a character that no expression has.
    """
    found: list[Token] = []
    spaced, opened = False, [""]
    for match in _TOKEN.finditer(text):
        kind, piece = str(match.lastgroup), str(match[match.lastgroup or 0])
        if kind == "space" or (kind == "command" and piece in SPACING):
            spaced = True
            continue
        if kind == "thousands" and opened[-1] not in ("", "{"):  # max(1,234) has two arguments
            for number in piece.split(","):
                found.extend((Token(NUMBER, number, spaced=spaced), Token(SIGN, ",")))
            found.pop()
        elif kind in ("thousands", "number"):
            found.append(Token(NUMBER, piece.replace(",", ""), spaced=spaced))
        elif kind == "command":
            found.append(Token(NAME, SYNONYMS.get(piece, piece), spaced=spaced))
        elif kind == "letters":
            word = prose and len(piece) > 2 and piece not in _PLAIN
            found.extend([Token(WORD, piece)] if word else _letters(piece, spaced))
        elif piece not in _SIGNS and prose is None:
            raise Malformed(f"{piece!r} in {text[:80]!r}")
        else:
            found.append(Token(SIGN, piece, spaced=spaced))
        if piece in "([{":
            opened.append(piece)
        elif piece in ")]}" and len(opened) > 1:
            opened.pop()
        spaced = False
    return found


def _letters(run: str, spaced: bool) -> list[Token]:
    """Return names and single letters: `xsin` is x and sin, `pir` is pi and r, `mux` is m, u and x."""
    if run in _PLAIN:
        return [Token(NAME, SYNONYMS.get(run, run), plain=True, spaced=spaced)]
    found: list[Token] = []
    place = 0
    for match in _WITHIN_RUN.finditer(run):
        found.extend(Token(LETTER, letter) for letter in run[place : match.start()])
        found.append(Token(NAME, SYNONYMS.get(match[0], match[0]), plain=True))
        place = match.end()
    found.extend(Token(LETTER, letter) for letter in run[place:])
    first = found[0]
    return [Token(first.kind, first.text, first.plain, spaced), *found[1:]]


def is_mathematical_word(word: str) -> bool:
    """Say whether a run of letters is a name of mathematics in plain text: `theta`, `sqrt`, `infinity`."""
    return word in _PLAIN
