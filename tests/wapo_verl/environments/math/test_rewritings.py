"""A right answer written in usual ways is paid, one with a thing changed is not: MATH-500's gold answers, and made ones.

No processes, no GPU.
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
CHANCE = 20_250


def made_golds(count: int) -> list[str]:
    """Gold answers of every kind, drawn by chance, the same ones each time."""
    chance = random.Random(CHANCE)

    def number() -> int:
        return chance.choice([chance.randint(2, 9), chance.randint(10, 99), chance.randint(100, 9_999)])

    def root() -> str:
        return rf"\sqrt{{{chance.choice([2, 3, 5, 6, 7, 10, 11, 13])}}}"

    kinds: list[Callable[[], str]] = [
        lambda: str(number()), lambda: f"-{number()}", lambda: rf"\frac{{{number()}}}{{{2 * number() + 1}}}",
        lambda: f"{number()}.{chance.randint(1, 99):02d}", lambda: f"{number()}{root()}", lambda: rf"{number()}\pi",
        lambda: rf"\frac{{{root()}}}{{{number()}}}", lambda: f"{number()}+{number()}{root()}", lambda: f"x^{chance.randint(2, 6)}+{number()}x-{number()}",
        lambda: f"({number()},-{number()})", lambda: rf"[{number()},\infty)", lambda: rf"(-\infty,{number()}]", lambda: f"{number()}+{number()}i",
        lambda: f"{number()}, {10_000 + number()}", lambda: rf"\{{{number()},-{number()}\}}", lambda: rf"{number()}^\circ", lambda: rf"{number()}\%",
        lambda: rf"{number()}\text{{ cm}}^2", lambda: rf"\${number()}.50", lambda: f"x={number()}", lambda: f"y={number()}x-{number()}",
        lambda: rf"\begin{{pmatrix}} {number()} \\ -{number()} \end{{pmatrix}}", lambda: rf"{number()}\le x<{10_000 + number()}", lambda: rf"\text{{({chance.choice('ABCDE')})}}",
        lambda: rf"\frac{{\pi}}{{{number()}}}", lambda: rf"{number()}e^{{{chance.randint(2, 9)}x}}", lambda: rf"\ln {number()}", lambda: rf"\frac{{{number()}a}}{{{number()}b+c}}",
        lambda: rf"{number()}\sin {chance.randint(2, 9)}t", lambda: f"{number()}!", lambda: f"{chance.randint(100, 144)}_5", lambda: rf"{number()} \pm {root()}",
    ]  # fmt: skip
    return [kinds[place % len(kinds)]() for place in range(count)]


def real_golds() -> list[str]:
    if not REAL_ROWS.is_file():
        pytest.skip(f"no real MATH-500 rows at {REAL_ROWS}")
    return sorted({example.answers[0] for example in environment("math500").examples("test", REAL_ROWS)})


MADE = made_golds(320)

WRAPPED = [
    "${}$", "$ {} $", "$${}$$", r"\({}\)", r"\[{}\]", r"\boxed{{{}}}", r"$\boxed{{{}}}$.", "{}.", "  {}  ", "**{}**", "`{}`", '"{}"',
    r"\displaystyle {}", r"$\displaystyle {}$", "**${}$**", r"\fbox{{{}}}",
]  # fmt: skip


def rewritten(gold: str) -> Iterator[str]:
    """The gold answer in some twenty usual ways to write it."""
    yield from (wrapping.format(gold) for wrapping in WRAPPED)
    if "," not in gold:  # in bare braces a set
        yield from ("{" + gold + "}", rf"$\boldsymbol{{{gold}}}$")
    yield gold.replace(r"\frac", r"\dfrac").replace("dd", "d")
    yield gold.replace(r"\frac", r"\tfrac").replace("dt", "t")
    yield gold.replace("(", r"\left(").replace(")", r"\right)").replace("[", r"\left[").replace("]", r"\right]")
    yield gold.replace("-", "−").replace(r"\pi", "π").replace(r"\infty", "∞").replace(r"^\circ", "°").replace(r"\pm", "±")
    yield re.sub(r"(?<=[0-9a-z)}])([+=<])(?=[0-9a-z(\\])", r" \1 ", gold)
    yield gold.replace(r"\mbox", r"\text").replace(r"\text", r"\textrm")
    yield re.sub(r"\^([0-9a-z])", r"^{\1}", gold)
    yield re.sub(r"\\sqrt\{([0-9]+)\}", r"\\sqrt{ \1 }", gold)
    yield re.sub(r"(?<![0-9.,_^])([1-9])([0-9]{3})(?![0-9])", r"\1{,}\2", gold)
    if "begin" not in gold:
        yield gold.replace(",", ", ") if r",\!" not in gold else gold
    if not re.search(r"[=<]|\\(?:le|in|text|begin|pm|mbox)|[,_]", gold):
        yield f"q = {gold}"
        yield f"f(3) = {gold}"
        yield rf"$Q = \boxed{{{gold}}}$".replace(r"\boxed", "")
    if re.fullmatch(r"-?[0-9]+", gold):
        yield from (f"{gold}.0", f"{gold}.", rf"{gold}\text{{ units}}", rf"\frac{{{2 * int(gold)}}}{{2}}", f"{3 * int(gold)}/3", f"{gold} boxes")
        yield from (f"{gold}th", rf"{gold}^{{\text{{th}}}}", f"\\text{{{gold}}}", f"{gold} square units", f"(C) {gold}", f"{gold}**1")
    if re.fullmatch(r"-?[0-9]*\\frac\{[0-9]+\}\{[0-9]+\}", gold):
        yield re.sub(r"\\frac\{([0-9]+)\}\{([0-9]+)\}", r"\1/\2", gold) if not re.match("-?[0-9]", gold) else gold
    if r"\sqrt" in gold and not re.search(r"\\sqrt[0-9]|\\le|text", gold):
        yield re.sub(r"\\sqrt\{([0-9]+)\}", r"sqrt(\1)", gold)


def changed(gold: str) -> Iterator[str]:
    """The gold answer with one thing changed: a number, a sign, a unit, a variable, a relation, a bracket, a part."""
    if re.fullmatch(r"\\text\{.*\}", gold):
        yield from (r"\text{(Z)}", r"\text{nothing}", "7")
        return
    for match in re.finditer(r"(?<![0-9.])[0-9]+(?![0-9])", gold):
        before = gold[: match.start()]
        if before.endswith(r"\!") or match[0] == "0" or "," in gold[match.end() : match.end() + 1]:
            continue
        yield f"{before}{int(match[0]) + 1}{gold[match.end() :]}"
        yield f"{before}1{match[0]}{gold[match.end() :]}"
    if gold not in ("0", r"\infty") and "pm" not in gold and not re.search("[=<,]|begin|text|in ", gold):
        yield f"-{gold}" if not gold.startswith("-") else gold[1:]
        yield f"{gold}+1" if not re.search(r"\\%|circ|mbox|_|\$", gold) else "1"
    for old, new in (("+", "-"), ("=", "<"), (r"\le", ">"), ("<", r"\le "), ("x", "y"), ("i", "j"), (r"\pi", "e"), ("sin", "cos"), ("a", "b"), ("t", "s")):
        if old in gold and "text" not in gold and (old.startswith("\\") or len(old) > 1 or not re.search(rf"\\[a-z]*{re.escape(old)}", gold)):
            yield gold.replace(old, new, 1)
    for old, new in ((r"\text{ cm}^2", r"\text{ cm}^3"), (r"\text{ cm}", r"\text{ m}"), (r"\mbox{ cm}^2", "cm"), (r"\%", r"\text{ cm}"), (r"^\circ", r"\text{ radians}")):
        if old in gold:
            yield gold.replace(old, new)
    if re.fullmatch(r"[(\[].*,.*[)\]]", gold):
        yield gold.translate(str.maketrans("([)]", "[(])"))
        yield gold[1:-1]
        yield f"{gold[:-1]},1{gold[-1]}"
    if "," in gold and "\\!" not in gold and "begin" not in gold:
        yield gold.replace("\\{", "").replace("\\}", "").rpartition(",")[0].strip("([")
        yield f"{gold}, 77"


@pytest.mark.parametrize("golds", [real_golds, lambda: MADE], ids=["real", "made"])
def test_usual_rewritings_are_paid(golds: Callable[[], list[str]]) -> None:
    tried = {(gold, answer) for gold in golds() for answer in rewritten(gold)}
    assert len(tried) > 4_000
    assert [pair for pair in sorted(tried) if compare(*pair, same_expression) != EQUAL] == []


@pytest.mark.parametrize("golds", [real_golds, lambda: MADE], ids=["real", "made"])
def test_changed_answers_are_not_paid(golds: Callable[[], list[str]]) -> None:
    tried = {(gold, answer) for gold in golds() for answer in changed(gold) if answer.strip() != gold.strip()}
    assert len(tried) > 500
    assert [pair for pair in sorted(tried) if compare(*pair, same_expression) == EQUAL] == []
