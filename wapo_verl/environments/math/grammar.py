r"""The grammar of single expressions, in LaTeX or plain text: a recursive descent of bounded depth that builds a tree.

Two readings, because `1/2x` is (1/2)x to some and 1/(2x) to others, and `\sin x/2` likewise: in the ``tight`` one a
product without a sign binds more tightly than a slash, and an argument without brackets runs across the slash. Where
both give the same tree, there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache

from wapo_verl.environments.math.cursor import END, Cursor
from wapo_verl.environments.math.forms import Number, plain_number
from wapo_verl.environments.math.tokens import (
    FUNCTIONS,
    GREEK,
    LETTER,
    NAME,
    NUMBER,
    SIGN,
    TRIGONOMETRIC,
    Malformed,
    Token,
    Unsupported,
    tokens,
)
from wapo_verl.environments.math.trees import Call, Symbol, Tree, add, inverse, multiply, negative

_TIMES = frozenset(("*", "cdot", "times", "ast"))
ENDS_FACTOR = _TIMES | {"div", "rfloor", "rceil", "rbrack", "over", "choose"}
_CONSTANTS = {"pi": "pi", "infty": "infinity", "i": "i"}
_CLOSING = {"(": ")", "[": "]", "{": "}", "lfloor": "rfloor", "lceil": "rceil", "lbrack": "rbrack"}
_ROUNDING = {"lfloor": "floor", "lceil": "ceil"}
_OTHERS_READ_NAMES = """
    sum prod int iint oint lim begin end partial nabla det operatorname overline bar vec hat prime Re Im arg
    mathbb mathcal mathbf pmod bmod mod cap cup circ deg dim ker Pr inf sup top
"""
_OTHERS_READ = frozenset(_OTHERS_READ_NAMES.split())
"""Commands that computer algebra may understand; any other unknown one is no mathematics."""
_SEVERAL = {"gcd": 99, "lcm": 99, "max": 99, "min": 99, "binom": 2}
"""Functions of several arguments in round brackets, and how many at most."""


@lru_cache(maxsize=4_096)
def readings(text: str) -> tuple[Tree, ...]:
    """Return the trees that an expression may mean, the usual reading first.

    Raises:
        Malformed: for a text that is no expression, or one nested more deeply than ``DEEPEST``.
        Unsupported: for an expression of a kind that is not known here.
    """
    if number := plain_number(text):
        return (number,)
    if r"\begin" in text:
        raise Unsupported("an environment")
    found = tokens(text)
    if not found:
        raise Malformed("no expression")
    loose = _Parser(found, tight=False).whole()
    if not any(token.text in ("/", "div") for token in found):
        return (loose,)
    tight = _Parser(found, tight=True).whole()
    return (loose,) if tight == loose else (loose, tight)


class _Parser(Cursor):
    """One pass over the tokens; each method reads what it is named after and moves on."""

    def __init__(self, found: list[Token], tight: bool) -> None:
        super().__init__(found)
        self._tight = tight
        self._bars = 0

    def whole(self) -> Tree:
        """Return the tree of all tokens.

        Raises:
            Malformed, Unsupported: see ``readings``.
        """
        tree = self._ratio()
        if self.next() is not END:
            raise Malformed(f"{self.next().text!r} after the expression's end")
        return tree

    def _ratio(self) -> Tree:
        parts = [self._sum()]
        while self.at(":"):
            self.take()
            parts.append(inverse(self._sum()))
        return multiply(parts)

    def _sum(self) -> Tree:
        terms = [self._signed(self._product)]
        while self.at("+") or self.at("-"):
            terms.append(self._signed(self._product))
        return add(terms)

    def _signed(self, read: Callable[[], Tree]) -> Tree:
        """Read what stands after no more than two signs: `-x`, `+-x`."""
        minus, signs = False, 0
        while self.at("+") or self.at("-"):
            minus ^= self.take().text == "-"
            signs += 1
            if signs > 2:
                raise Malformed("three signs in a row")
        tree = read()
        return negative(tree) if minus else tree

    def _product(self) -> Tree:
        factors = [self._power()]
        while True:
            token = self.next()
            if token.text in _TIMES and token is not END:
                self.take()
                factors.append(self._signed(self._power))
            elif token.text in ("/", "div"):
                self.take()
                factors.append(inverse(self._signed(self._divisor)))
            elif self._begins_factor():
                factors.append(self._adjacent())
            else:
                return multiply(factors)

    def _divisor(self) -> Tree:
        """Read what a slash divides by: one factor, or in the tight reading all that follow without a sign."""
        factors = [self._power()]
        while self._tight and self._begins_factor():
            factors.append(self._adjacent())
        return multiply(factors)

    def _adjacent(self) -> Tree:
        """Read a factor that follows another without a sign; a number after a number is two answers, not a product."""
        before, token = self.tokens[self.place - 1], self.next()
        braced = token.text == "{" and self.next(1).kind == NUMBER
        if before.kind == NUMBER and (token.kind == NUMBER or braced):
            raise Malformed(f"{before.text} and {token.text} side by side")
        return self._power()

    def _begins_factor(self) -> bool:
        token = self.next()
        if token.kind == NAME:
            return token.text not in ENDS_FACTOR and not (token.text in ("vert", "mid") and self._bars)
        return token.kind in (NUMBER, LETTER) or token.text in ("(", "[", "{") or (token.text == "|" and not self._bars)

    def _power(self) -> Tree:
        """Read an atom and what stands behind it: `!`, `!!`, `^`, a degree or per cent sign."""
        tree, behind = self._atom(), 0
        while True:
            token = self.next()
            if token.text == "!":
                self.take()
                double = self.at("!")
                self.place += double
                tree = Call("double_factorial" if double else "factorial", (tree,))
            elif token.text == r"\%":
                self.take()
                tree = Call("percent", (tree,))
            elif token.text == "^":
                self.take()
                degree = self.at("circ")
                self.place += degree
                tree = Call("degree", (tree,)) if degree else Call("power", (tree, self._exponent()))
            else:
                return tree
            behind += 1
            if behind > 4:
                raise Malformed("too many signs behind a factor")

    def _exponent(self) -> Tree:
        """Read what stands after `^`: a group, a sign and a factor, or one thing; `2^3^2` is 2^(3^2)."""
        self.go_deeper()
        if self.next().text in ("*", "prime", "top", "'"):
            raise Unsupported("a mark above")
        base = self._signed(self._function if self.next().text in FUNCTIONS else self._atom)
        if self.at("^") and self.next(1).text != "circ":
            self.take()
            base = Call("power", (base, self._exponent()))
        self.depth -= 1
        return base

    def _atom(self) -> Tree:
        self.go_deeper()
        tree = self._begun_by(self.take())
        self.depth -= 1
        return tree

    def _begun_by(self, token: Token) -> Tree:
        if token.kind == NUMBER:
            return self._number(token)
        if token.kind == LETTER:
            return self._letter(token.text)
        if token.text in ("(", "[", "{"):
            return self._group(token.text)
        if token.text in ("|", "vert", "mid"):
            return self._absolute(token.text)
        if token.kind != NAME:
            raise Malformed(f"{token.text or 'the end'!r} where a number or a letter must stand")
        return self._named(token)

    def _named(self, token: Token) -> Tree:
        """Read what a command or a name in plain text begins."""
        name = token.text
        if name in _CONSTANTS:
            return Call(_CONSTANTS[name])
        if name in GREEK:
            return Symbol(name + self.subscript())
        if name in ("frac", "binom"):
            return self._two_arguments(token)
        if name in ("sqrt", "cbrt"):
            return self._root(token)
        if name in _ROUNDING:
            return Call(_ROUNDING[name], (self._group(name),))
        if name == "lbrack":
            return self._group(name)
        if name in FUNCTIONS:
            self.place -= 1
            return self._function()
        raise (Unsupported if name in _OTHERS_READ else Malformed)(f"{name!r}")

    def _number(self, token: Token) -> Tree:
        r"""Read a number, and a plain fraction right after a whole one: `3\frac12` is 3.5."""
        number = Number(Fraction(token.text), "." in token.text)
        if self.at("C") and self.next(1).kind == NUMBER and not (self.next().spaced or self.next(1).spaced):  # 5C2
            if self.next(2).kind in (LETTER, NAME):
                raise Unsupported("a constant C1 or a binomial coefficient")
            self.take()
            return Call("binom", (number, Number(Fraction(self.take().text), False)))
        if not (self.at("frac") and not number.decimal and self.at_plain_fraction()):
            return number
        part = self._named(self.take())
        return add([number, part])

    def _letter(self, letter: str) -> Tree:
        if letter == "i" and not self.at("_"):
            return Call("i")
        if letter == "e" and not self.at("_"):
            return Call("e")
        if letter == "f" and self.at("("):
            raise Unsupported("a function without a definition")
        if letter == "C" and (chosen := self._tried(self._chosen)):
            return chosen
        name = letter + self.subscript()
        if self.at("'"):
            raise Unsupported("a derivative")
        return Symbol(name)

    def _tried(self, read: Callable[[], Tree | None]) -> Tree | None:
        """Return what can be read; None, and nothing read, where it cannot."""
        place, depth = self.place, self.depth
        try:
            tree = read()
        except (Malformed, Unsupported):
            tree = None
        if tree is None:
            self.place, self.depth = place, depth
        return tree

    def _chosen(self) -> Tree | None:
        r"""Read what stands behind the C of `C(5,2)`, `C_5^2` and `C^2_5`: two numbers that a coefficient can have.

        `C_1^2` is the square of a constant.
        """
        if self.at("("):
            arguments = self._listed(2)
            return Call("binom", tuple(arguments)) if len(arguments) == 2 else None
        found: dict[str, Tree] = {}
        while self.next().text in ("_", "^") and self.next().text not in found:
            mark = self.take().text
            found[mark] = self._atom()
        above, below = found.get("_"), found.get("^")
        if above is None or below is None:
            return None
        least = below.value if isinstance(below, Number) else 0
        is_constant = isinstance(above, Number) and (above.value < 2 or above.value < least)
        return None if is_constant else Call("binom", (above, below))

    def _group(self, opening: str) -> Tree:
        """Read up to the bracket that closes the one just taken."""
        bars, self._bars = self._bars, 0
        tree = self._ratio()
        if opening == "{" and (self.at("over") or self.at("choose")):
            over, below = self.take().text == "over", self._ratio()
            tree = multiply([tree, inverse(below)]) if over else Call("binom", (tree, below))
        self.expect(_CLOSING[opening])
        self._bars = bars
        return tree

    def _absolute(self, bar: str) -> Tree:
        self._bars += 1
        tree = self._sum()
        self.expect(bar)
        self._bars -= 1
        return Call("abs", (tree,))

    def _argument(self) -> Tree:
        """Read one argument of a command: a group, a single digit, or one letter or command."""
        token = self.next()
        if token.kind == NUMBER and "." not in token.text and len(token.text) > 1:
            self.tokens = list(self.tokens)
            self.tokens[self.place] = Token(NUMBER, token.text[1:])
            return Number(Fraction(token.text[0]), False)
        if token.kind == SIGN and token.text != "{":
            raise Malformed(f"{token.text or 'the end'!r} where an argument must stand")
        if token.kind == NUMBER:
            return Number(Fraction(self.take().text), "." in token.text)
        return self._atom()

    def _two_arguments(self, token: Token) -> Tree:
        if token.plain and not self.at("{"):
            arguments = self._listed(2)
            if len(arguments) < 2:
                raise Malformed(f"{token.text} of one argument")
            above, below = arguments
        else:
            above, below = self._argument(), self._argument()
        if token.text == "binom":
            return Call("binom", (above, below))
        if above == Symbol("d"):
            raise Unsupported("a derivative")
        return multiply([above, inverse(below)])

    def _root(self, token: Token) -> Tree:
        index: Tree = Number(Fraction(3 if token.text == "cbrt" else 2), False)
        if self.at("[") and not token.plain:
            self.take()
            index = self._group("[")
        if token.plain or self.at("("):
            inside = self._group(self.take().text) if self.next().text in ("(", "[", "{") else self._atom()
        else:
            inside = self._argument()
        return Call("root", (inside, index))

    def _listed(self, most: int) -> list[Tree]:
        """Read arguments in round brackets."""
        opening = self.take().text
        if opening not in ("(", "{", "["):
            raise Malformed("no arguments after a function's name")
        found = [self._sum()]
        while self.at(",") and len(found) < most:
            self.take()
            found.append(self._sum())
        self.expect(_CLOSING[opening])
        return found

    def _function(self) -> Tree:
        r"""Read a function with its base, its power and its argument: `\log_2 8`, `\sin^2 x`, `\tan^{-1}(x)`."""
        token = self.take()
        name = token.text
        base, power = self._base_in_its_name(token), None
        for _ in range(2):
            if self.at("_") and base is None:
                self.take()
                base = self._base()
            elif self.at("^") and power is None:
                self.take()
                power = self._exponent()
        if base is not None and name != "log":
            raise Unsupported(f"{name} with a subscript")
        arguments = self._listed(_SEVERAL[name]) if name in _SEVERAL else [self._function_argument()]
        if power == Number(Fraction(-1), False) and name in TRIGONOMETRIC:
            return Call(f"arc{name}", tuple(arguments))
        tree: Tree = Call(name, tuple(arguments))
        if name in ("log", "lg"):
            tree = Call("log", (*arguments, base or Number(Fraction(10), False)))
        elif name == "exp":
            tree = Call("power", (Call("e"), *arguments))
        return tree if power is None else Call("power", (tree, power))

    def _base_in_its_name(self, token: Token) -> Tree | None:
        """Read the base of `log2(x)` and `log10(x)` in plain text."""
        number = self.next()
        written = token.text == "log" and token.plain and not number.spaced and self.next(1).text == "("
        if not (written and number.text in ("2", "10")):
            return None
        return Number(Fraction(self.take().text), False)

    def _base(self) -> Tree:
        r"""Read a logarithm's base; `\log_28` has 2 as its base where nothing else could be the argument."""
        token, after = self.next(), self.next(1)
        if token.kind == NUMBER and (len(token.text) == 1 or after is END or after.text in ("+", "-", ")", "}", "*")):
            return self._argument()
        return self._atom()

    def _function_argument(self) -> Tree:
        """Read what a function is of: brackets, bars, or the factors up to the next sign, function or bracket."""
        token = self.next()
        if token.text in ("(", "[", "{", "|", "vert") and token is not END:
            self.take()
            tree = self._absolute(token.text) if token.text in ("|", "vert") else self._group(token.text)
            if self.at("^") and self.next(1).text == "circ":
                self.place += 2
                tree = Call("degree", (tree,))
        else:
            tree = self._signed(self._open_argument)
        return tree

    def _open_argument(self) -> Tree:
        factors = [self._power()]
        while self._continues_argument():
            if self.next().text == "/":
                self.take()
                factors.append(inverse(self._power()))
            else:
                factors.append(self._adjacent())
        return multiply(factors)

    def _continues_argument(self) -> bool:
        token = self.next()
        if self._tight and token.text in ("/", "sqrt", "frac"):
            return True
        return token.kind == LETTER or (token.kind == NAME and token.text in (*_CONSTANTS, *GREEK))
