"""Numbers, cleaning and structure of written answers, as properties. No algebra, no processes, no GPU."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from wapo_verl.environments.math.cleaning import clean
from wapo_verl.environments.math.equivalence import DIFFERENT, EQUAL, GOLD_UNPARSED, UNPARSED, compare
from wapo_verl.environments.math.forms import is_readable, plain_number, without_spaces
from wapo_verl.environments.math.structure import ATOM, ORDERED, UNORDERED, structure

whole = st.integers(-(10**12), 10**12)
decimals = st.tuples(st.integers(0, 10**6), st.text("0123456789", min_size=1, max_size=5)).map(
    lambda pair: f"{pair[0]}.{pair[1]}"
)


def no_algebra(gold: str, answer: str) -> bool:
    raise AssertionError(f"numbers need no algebra: {gold!r}, {answer!r}")


def ways_to_write(number: int) -> list[str]:
    latex = f"{number:,}".replace(",", "{,}"), f"{number:,}".replace(",", r",\!"), f"{number:,}".replace(",", r"\,")
    fractions = f"{7 * number}/7", rf"\frac{{{3 * number}}}{{3}}", rf"\dfrac{{{-number}}}{{-1}}"
    wrapped = f"${number}$", rf"\boxed{{{number}}}", rf"\({number}\).", f"x = {number}", rf"{number} \text{{ cm}}"
    return [str(number), f"{number:,}", f"{number}.0", f" {number} ", f"**{number}**", *latex, *fractions, *wrapped]


@settings(max_examples=30)
@given(whole)
def test_a_number_equals_itself_written_otherwise_and_no_neighbour(number: int) -> None:
    for text in ways_to_write(number):
        assert compare(str(number), text, no_algebra) == EQUAL, text
        assert compare(text, str(number), no_algebra) == EQUAL, text
        for other in (number + 1, number - 1, -number or 1, 10 * number or 2):
            assert compare(str(other), text, no_algebra) == DIFFERENT, text


@given(whole, st.integers(1, 10**6))
def test_fractions_are_exact(top: int, low: int) -> None:
    value = Fraction(top, low)
    written = rf"\frac{{{top}}}{{{low}}}"
    assert plain_number(written) == plain_number(f"{top}/{low}")
    assert plain_number(written).value == value
    assert compare(written, f"{value.numerator}/{value.denominator}", no_algebra) == EQUAL
    assert compare(written, rf"\frac{{{top + 1}}}{{{low}}}", no_algebra) == DIFFERENT
    assert compare(written, rf"\frac{{{top}}}{{{low + 1}}}", no_algebra) == (DIFFERENT if top else EQUAL)


@given(decimals, st.integers(1, 99))
def test_decimals_equal_themselves_and_nothing_a_hundred_thousandth_away(text: str, off: int) -> None:
    value = Fraction(text)
    assert compare(text, rf"\frac{{{value.numerator}}}{{{value.denominator}}}", no_algebra) == EQUAL
    assert compare(text, text.rstrip("0").rstrip(".") or "0", no_algebra) == EQUAL
    other = value + Fraction(off, 100_000)
    assert compare(text, f"{other.numerator}/{other.denominator}", no_algebra) == DIFFERENT


@given(st.fractions(min_value=-10, max_value=10, max_denominator=500))
def test_six_places_of_a_fraction_stand_for_it_and_three_do_not(value: Fraction) -> None:
    gold = f"{value.numerator}/{value.denominator}"
    assume(abs(value) >= 1 or value == 0)
    assert compare(gold, f"{float(value):.6f}", no_algebra) == EQUAL
    if abs(Fraction(f"{float(value):.3f}") - value) > Fraction(1, 100_000):
        assert compare(gold, f"{float(value):.3f}", no_algebra) == DIFFERENT


NO_NUMBERS = ["", "-", "x", "1/0", r"\frac{1}{0}", "1 2", "1,23", "--5", "1.2.3", "1/2/3", "1_2", "0x5", "inf", "nan"]


@pytest.mark.parametrize("text", [*NO_NUMBERS, "9" * 500, "1e999", "\u0665", "\uff15"])
def test_what_is_no_plain_number(text: str) -> None:
    assert plain_number(text) is None


@settings(max_examples=40)
@given(st.lists(whole, min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_lists_have_no_order_and_tuples_do(numbers: list[int], random: object) -> None:
    shuffled = list(numbers)
    random.shuffle(shuffled)
    gold, answer = ", ".join(map(str, numbers)), ", ".join(map(str, shuffled))
    assert compare(gold, answer, no_algebra) == EQUAL
    assert compare(rf"\{{{gold}\}}", answer, no_algebra) == EQUAL
    assert compare(f"({gold})", f"({answer})", no_algebra) == (EQUAL if numbers == shuffled else DIFFERENT)
    assert compare(gold, f"{answer}, {numbers[0]}", no_algebra) == DIFFERENT
    assert compare(gold, answer.rpartition(", ")[0], no_algebra) == DIFFERENT


@given(st.text(st.sampled_from(r"\$()[]{}.,;*^_12x= -"), max_size=40))
def test_no_text_breaks_cleaning_or_structure(text: str) -> None:
    cleaned = clean(text)
    assert clean(cleaned) == clean(clean(cleaned))
    node = structure(cleaned)
    assert node is None or node.kind in (ATOM, ORDERED, UNORDERED)


@given(st.text(st.sampled_from("0123456789 x+"), max_size=20))
def test_spaces_between_digits_are_kept(text: str) -> None:
    digits = [part for part in text.replace("x", " x ").replace("+", " + ").split() if part.isdigit()]
    kept = without_spaces(text).replace("x", " ").replace("+", " ").split()
    assert kept == digits


@pytest.mark.parametrize("text", ["\u0665", "1\u200b2", "\uff15", "\u0410", "a\u0301", "5\x00", "x" * 1_001])
def test_look_alikes_and_long_texts_are_not_readable(text: str) -> None:
    assert not is_readable(clean(text))


COMMANDS = r"""
    \{ \} \frac \text{ \le \pm \cup \infty \in \$ \% ^\circ \boxed{ \sqrt \begin{pmatrix} \\ √ ½ ² \binom C_
    k\in\mathbb{Z} \ln \mathbb{R}\setminus
"""
TOKENS = st.sampled_from(
    [
        *"()[]{},;=<>+-*/^_.$%|! 0123456789xyRei",
        *COMMANDS.split(),
        "\u0665",
        " and ",
        " or ",
        " cm",
        " one ",
        " million",
    ]
)


@given(st.lists(TOKENS, max_size=25).map("".join), st.lists(TOKENS, max_size=25).map("".join))
def test_no_pair_of_texts_breaks_the_comparison(gold: str, answer: str) -> None:
    verdict = compare(gold, answer, lambda wanted, given: False)
    assert verdict in (EQUAL, DIFFERENT, UNPARSED, GOLD_UNPARSED)
    assert compare(answer, answer, lambda wanted, given: False) == EQUAL


@pytest.mark.parametrize(
    "answer", [r"\binom{5}{\pi}", "binom{10}", r"(\sqrt{4}-5)!", "x>i, x<5", r"\binom{\sqrt{4}-5}{\pi}"]
)
def test_values_that_do_not_exist_are_no_error(answer: str) -> None:
    assert compare("5", answer, lambda wanted, given: False) in (DIFFERENT, UNPARSED)


PIECES = (
    *(
        "(",
        "{",
        ",",
        "1,",
        "[1,",
        "(1,2),",
        r"\{",
        r"\pm",
        "$",
        "**",
        "=",
        "=a",
        "<",
        "<a",
        r"\le x",
        r"\text{",
        r"\text{a ",
    ),
    *(
        "1 ",
        r"\frac",
        r"\frac1",
        "√(",
        "a/",
        "/a",
        " a",
        "-a",
        "a.",
        ". ",
        "1/",
        "1/1 ",
        ",123",
        "x_1",
        "^2",
        "a(1,1",
        " and ",
        "}",
        r"k\in Z, ",
        "x>1, ",
        "one ",
        "3 million ",
    ),
)


@pytest.mark.parametrize("prefix", ["", "1 a", "x=", r"1\text{a", "-", "f(1"])
@pytest.mark.parametrize("piece", PIECES)
def test_long_answers_take_little_time(piece: str, prefix: str) -> None:
    """In the process that trains: no expression here may backtrack without end."""
    started = time.process_time()
    for end in ("", "!", "}", ")"):
        compare("5", (prefix + piece * 1_000)[:999] + end, lambda gold, answer: False)
    assert time.process_time() - started < 2
