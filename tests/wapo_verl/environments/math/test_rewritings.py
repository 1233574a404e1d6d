"""A right answer written in usual ways is paid, one with a thing changed is not: real gold answers, and made ones.

The real ones are MATH-500's. No processes, no GPU.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

import pytest
from support.paths import DATA

from wapo_verl.environments.math.algebra import same_expression
from wapo_verl.environments.math.equivalence import EQUAL, compare
from wapo_verl.environments.registry import environment

REAL_ROWS = DATA / "math500" / "test.jsonl"

PATTERNS = r"""
@N | -@N | \frac{@N}{@D} | @N.25 | @N.07 | @N@R | @N\pi | \frac{@R}{@N} | @N+@N@R | x^@K+@Nx-@N | (@N,-@N)
[@N,\infty) | (-\infty,@N] | @N+@Ni | @N, @B | \{@N,-@N\} | @N^\circ | @N\% | @N\text{ cm}^2 | \$@N.50 | x=@N | y=@Nx-@N
\begin{pmatrix} @N \\ -@N \end{pmatrix} | @N\le x<@B | \text{(@L)} | \frac{\pi}{@N} | @Ne^{@Kx} | \ln @N | 4321_5
\frac{@Na}{@Nb+c} | @N\sin @Kt | @N! | @N \pm @R | \binom{@B}{@K} | |AB|=@N | @N\text{ seconds} | (@N,@B] | t\in[@N,@B]
\frac{\pi}{@N}+2k\pi, k\in\mathbb{Z} | \{x : x>@N\} | \{x : -@N\le x<@B\} | C_{@B}^{@K}
\sqrt{@N+x} | @N^{x} | \log_2 @N | f(x)=@Nx^@K | S_{10}=@N | @Nxy^2 | @N-@Ki | \frac{x-@N}{x+@N}
"""
"""Gold answers of every kind: @N is a number, @D another, @B a greater one, @K a digit, @R a root, @L a letter."""


def made_golds(count: int = 320) -> list[str]:
    """Gold answers of the patterns, drawn by chance, the same ones each time."""
    chance = random.Random(20_250)
    drawn: dict[str, Callable[[], str]] = {
        "N": lambda: str(chance.randint(2, 10 ** chance.randint(1, 4))),
        "D": lambda: str(20_000 + 2 * chance.randint(2, 99) + 1),
        "B": lambda: str(chance.randint(10_001, 99_999)),
        "K": lambda: str(chance.randint(2, 6)),
        "R": lambda: rf"\sqrt{{{chance.choice([2, 3, 5, 6, 7, 10, 11, 13])}}}",
        "L": lambda: chance.choice("ABCDE"),
    }
    patterns = re.split(r" \| |\n", PATTERNS.strip())
    return [
        re.sub("@([A-Z])", lambda found: drawn[found[1]](), patterns[place % len(patterns)]) for place in range(count)
    ]


def real_golds() -> list[str]:
    if not REAL_ROWS.is_file():
        pytest.skip(f"no real MATH-500 rows at {REAL_ROWS}")
    return sorted({example.answers[0] for example in environment("math500").examples("test", REAL_ROWS)})


WRAPPED = [
    *("${}$", "$ {} $", "$${}$$", r"\({}\)", r"\[{}\]", r"\boxed{{{}}}", r"$\boxed{{{}}}$.", "{}.", "  {}  "),
    *("**{}**", "`{}`", '"{}"', r"\displaystyle {}", r"$\displaystyle {}$", "**${}$**", r"\fbox{{{}}}"),
]


def rewritten(gold: str) -> Iterator[str]:
    """The gold answer in some twenty usual ways to write it."""
    yield from (wrapping.format(gold) for wrapping in WRAPPED)
    if "," not in gold:  # in bare braces a set
        yield from ("{" + gold + "}", rf"$\boldsymbol{{{gold}}}$")
    yield re.sub(r"\\d?frac", r"\\dfrac", gold)
    yield re.sub(r"\\d?frac", r"\\tfrac", gold)
    yield re.sub(r"(?<!\\)[(\[]", r"\\left\g<0>", re.sub(r"(?<!\\)[)\]]", r"\\right\g<0>", gold))
    yield gold.replace("-", "−").replace(r"\pi", "π").replace(r"\infty", "∞").replace(r"^\circ", "°")
    yield re.sub(r"(?<=[0-9a-z)}])([+=<])(?=[0-9a-z(\\])", r" \1 ", gold)
    yield gold.replace(r"\mbox", r"\text").replace(r"\text", r"\textrm")
    yield re.sub(r"\^([0-9a-z])", r"^{\1}", gold)
    yield re.sub(r"\\sqrt\{([0-9]+)\}", r"\\sqrt{ \1 }", gold)
    yield re.sub(r"(?<![0-9.,_^])([1-9])([0-9]{3})(?![0-9])", r"\1{,}\2", gold)
    if "begin" not in gold and r",\!" not in gold:
        yield gold.replace(",", ", ")
    if not re.search(r"[=<]|\\(?:le|in|text|begin|pm|mbox)|[,_]", gold):
        yield from (f"q = {gold}", f"f(3) = {gold}", rf"|PQ| = {gold}")
    yield from numbers_rewritten(gold)
    yield from names_rewritten(gold)
    if r"\sqrt" in gold and not re.search(r"\\sqrt[0-9]|\\le|text", gold):
        yield re.sub(r"\\sqrt\{([^{}]+)\}", r"sqrt(\1)", gold)


def numbers_rewritten(gold: str) -> Iterator[str]:
    if re.fullmatch(r"-?[0-9]+", gold):
        yield from (f"{gold}.0", f"{gold}.", rf"{gold}\text{{ units}}", rf"\frac{{{2 * int(gold)}}}{{2}}")
        yield from (f"{3 * int(gold)}/3", f"{gold} boxes", f"{gold}th", rf"{gold}^{{\text{{th}}}}", f"\\text{{{gold}}}")
        yield from (f"{gold} square units", f"(C) {gold}", f"{gold}**1", f"{gold} \\approx {gold}.0")
        yield from (
            in_words(int(gold)),
            f"\\text{{{in_words(int(gold)).capitalize()}}}",
            f"{in_words(int(gold))} boxes",
        )
    if re.fullmatch(r"-?\\frac\{[0-9]+\}\{[0-9]+\}", gold):
        yield re.sub(r"\\frac\{([0-9]+)\}\{([0-9]+)\}", r"\1/\2", gold)


def names_rewritten(gold: str) -> Iterator[str]:
    """The gold answer with another parameter or element of a set, and a binomial coefficient in other notations."""
    if r"\mathbb{Z}" in gold:
        body = gold.partition(",")[0]
        yield from (gold.replace("k", "m"), rf"\{{{body} : k\in\mathbb{{Z}}\}}", body.replace(r"2k\pi", r"2\pi k"))
        yield from (rf"{body} \text{{ where }} k\in\mathbb Z", rf"x = {body.replace('2k', '2(n-1)')}, n \in Z")
    if " : " in gold:
        yield from (gold.replace("x", "t"), gold.replace(":", r"\mid"), gold.replace("x", r"\lambda "))
    if match := re.fullmatch(r"\\binom\{([0-9]+)\}\{([0-9]+)\}|C_\{([0-9]+)\}\^\{([0-9]+)\}", gold):
        above, below = filter(None, match.groups())
        yield from (f"C_{{{above}}}^{{{below}}}", f"{{}}_{{{above}}}C_{{{below}}}", f"C({above},{below})")
        yield from (f"{above}C{below}", f"{above} choose {below}", rf"\mathrm{{C}}_{{{above}}}^{{{below}}}")


UNIT_WORDS = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen
"""
UNITS = UNIT_WORDS.split()
TEN_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
TENS = TEN_WORDS.split()


def in_words(number: int) -> str:
    """A whole number as English says it."""
    if number < 0:
        return f"negative {in_words(-number)}"
    for scale, name in ((10**6, "million"), (1_000, "thousand"), (100, "hundred")):
        if number >= scale:
            rest = number % scale
            return f"{in_words(number // scale)} {name}" + (f" {in_words(rest)}" if rest else "")
    return UNITS[number] if number < 20 else TENS[number // 10 - 2] + (f"-{UNITS[number % 10]}" if number % 10 else "")


SWAPPED = [("+", "-"), ("=", "<"), (r"\le", ">"), ("<", r"\le "), (r"\pi", "e"), ("sin", "cos"), (r"\in", r"\ni")]
RENAMED = [("x", "y"), ("i", "j"), ("a", "b"), ("t", "s"), ("y", "z")]
OTHER_UNITS = [
    *((r"\text{ cm}^2", r"\text{ cm}^3"), (r"\text{ cm}", r"\text{ m}"), (r"\mbox{ cm}^2", "cm"), ("inches", "feet")),
    *((r"\%", r"\text{ cm}"), (r"^\circ", r"\text{ radians}"), ("seconds", "minutes"), ("seconds", "nanoseconds")),
]


def changed(gold: str) -> Iterator[str]:
    """The gold answer with one thing changed: a number, a sign, a unit, a variable, a relation, a bracket, a part."""
    if re.fullmatch(r"\\text\{.*\}", gold):
        yield from (r"\text{(Z)}", r"\text{nothing}", "7")
        return
    for match in re.finditer(r"(?<![0-9.])[1-9][0-9]*(?![0-9])", gold):
        before, after = gold[: match.start()], gold[match.end() :]
        if not before.endswith(r"\!") and not re.match(r",(?:\\!)?\s?[0-9]{3}", after):  # no part of 58,500
            yield from (f"{before}{int(match[0]) + 1}{after}", f"{before}1{match[0]}{after}")
    if gold != "0" and not re.search(r"[=<,]|begin|text|in |pm", gold):
        yield gold[1:] if gold.startswith("-") else f"-{gold}"
    for old, new in SWAPPED:
        if old in gold and "text" not in gold and "mathbb" not in gold:  # 2k\pi and -2k\pi are one family
            yield gold.replace(old, new, 1)
    for old, new in RENAMED:
        if re.search(rf"(?<![a-z\\]){old}(?![a-z])", gold) and "text" not in gold and " : " not in gold:
            yield re.sub(rf"(?<![a-z\\]){old}(?![a-z])", new, gold)
    for old, new in OTHER_UNITS:
        if old in gold:
            yield gold.replace(old, new)
    if re.fullmatch(r"[(\[].*,.*[)\]]", gold):
        yield from (gold.translate(str.maketrans("([)]", "[(])")), gold[1:-1], f"{gold[:-1]},1{gold[-1]}")
    yield from names_changed(gold)
    if "," in gold and "\\!" not in gold and "begin" not in gold and "mathbb" not in gold:
        yield gold.replace("\\{", "").replace("\\}", "").rpartition(",")[0].strip("([")
        yield f"{gold}, 77"


def names_changed(gold: str) -> Iterator[str]:
    """The gold answer with another number in words, a name changed in one place, and other coefficients."""
    if re.fullmatch(r"-?[1-9][0-9]*", gold):
        other = in_words(int(gold) + 1)
        yield from (other, f"{other} boxes", f"{in_words(int(gold))} million", f"{in_words(int(gold))} thirds")
        yield from (in_words(-int(gold)), f"{gold} million")
    if r"\mathbb{Z}" in gold:
        yield from (gold.replace("k", "m", 1), gold.replace("Z", "N"), gold.replace("Z", "R"), gold.replace("2k", "k"))
        yield gold.partition(",")[0].replace("k", "m")
    if " : " in gold:
        yield from (gold.replace("x", "t", 1), gold.replace(" : x", " : t"), gold.replace(">", r"\ge "))
    if match := re.fullmatch(r"\\binom\{([0-9]+)\}\{([0-9]+)\}|C_\{([0-9]+)\}\^\{([0-9]+)\}", gold):
        above, below = filter(None, match.groups())
        yield from (
            f"C_{{{below}}}^{{{above}}}",
            f"{{}}_{{{below}}}C_{{{above}}}",
            f"C_{{{above}}}",
            f"{above}C1{below}",
        )


GOLDS = pytest.mark.parametrize("golds", [real_golds, made_golds], ids=["real", "made"])


@GOLDS
def test_usual_rewritings_are_paid(golds: Callable[[], list[str]]) -> None:
    tried = {(gold, answer) for gold in golds() for answer in rewritten(gold)}
    assert len(tried) > 4_000
    assert [pair for pair in sorted(tried) if compare(*pair, same_expression) != EQUAL] == []


@GOLDS
def test_changed_answers_are_not_paid(golds: Callable[[], list[str]]) -> None:
    tried = {(gold, answer) for gold in golds() for answer in changed(gold) if answer.strip() != gold.strip()}
    assert len(tried) > 600
    assert [pair for pair in sorted(tried) if compare(*pair, same_expression) == EQUAL] == []


EQUAL_GOLDS = [{"120", r"120^\circ"}, {"15", r"15\mbox{ cm}^2"}, {"36", r"36^\circ"}, {"5", "x=5"}]
"""Different gold answers of MATH-500 that mean the same, beside those that are one number written in two ways."""


def test_no_gold_answer_of_math500_is_paid_for_another_one() -> None:
    """All ordered pairs of different gold answers: 27,060."""
    golds = real_golds()
    pairs = [(gold, answer) for gold in golds for answer in golds if gold != answer]
    paid = [pair for pair in pairs if compare(*pair, same_expression) == EQUAL]
    assert len(pairs) > 27_000
    assert {frozenset(pair) for pair in paid} == {*map(frozenset, EQUAL_GOLDS), frozenset((r"\frac14", r"\frac{1}{4}"))}


@pytest.mark.slow
def test_no_made_gold_answer_is_paid_for_another_one() -> None:
    """40,000 of all ordered pairs; the algebra is never asked, so equal values are told by the values alone."""
    golds = sorted(set(made_golds(450)))
    chance = random.Random(0)
    pairs = [(gold, answer) for gold, answer in (chance.sample(golds, 2) for _ in range(40_000))]
    paid = [pair for pair in pairs if compare(*pair, same_expression) == EQUAL and "4!" not in pair]  # some are 24
    assert [pair for pair in paid if bare(pair[0]) != bare(pair[1])] == []


def bare(gold: str) -> str:
    """The number of a gold answer that is one, without its unit or name."""
    return re.sub(r"\\text\{.*|\^\\circ|\\%|\\\$|.*=|\.0+$|(?<=\.[0-9])0", "", gold)
