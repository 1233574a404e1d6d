"""Expressions copied out of the problem. Pure text, no GPU."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wapo_verl.environments.math.echo import is_copied

PROBLEM = (
    r"Let $x = 4$. Find $99^2+99 + 1$, then $\sqrt{242}$ and $(u+4)(u-1) - 2 \cdot 3$ "
    r"at 30\% or $\frac{1}{2}$, in [-2,7]."
)

COPIED = [
    "99^2+99+1", "$99^2 + 99+1$", "(99^2+99+1)", r"\left(99^2+99+1\right)", r"\boxed{99^2+99+1}.", "99^2", "99+1",
    r"\sqrt{242}", r"\sqrt{ 242 }", "(u+4)(u-1)-2*3", r"(u+4)(u-1) - 2\times 3", "((u+4)(u-1))", "(u+4)(u-1)",
]  # fmt: skip
NOT_COPIED = [
    "9901", r"11\sqrt2", "4", "x = 4", "x=4", "30%", r"30\%", r"\frac{1}{2}", r"\dfrac12", "1/2", "[-2,7]", "u", "Find",
    "99^3", r"\sqrt{243}", "(u+4)(u-2)", "", "(", "99^2+99+1=9901", "242", "-6",
]  # fmt: skip


@pytest.mark.parametrize("answer", COPIED)
def test_an_expression_of_the_problem(answer: str) -> None:
    assert is_copied(answer, PROBLEM, "9901")


@pytest.mark.parametrize("answer", NOT_COPIED)
def test_what_may_stand_there_and_be_the_answer(answer: str) -> None:
    assert not is_copied(answer, PROBLEM, "9901")


ELSEWHERE = (
    r"If $0 < x < \pi/2$ and $y = 3x+1 = 2\sqrt{5}/5$, with $\sin x\cos x$, $-a/(2b)$ and $10^{2x+1}$, find $x + 10$."
)
REWRITTEN = [
    (r"\frac\pi2", r"\pi/2"), (r"\frac{\pi}{2}", r"$\pi/2$"), (r"\frac12\pi", r"\pi/2"), (r"x=\frac{\pi}{2}", r"\pi/2"),
    (r"\frac{\pi}{2}\text{ cm}", r"\pi/2"), (r"\frac{2\sqrt{5}}{5}", r"2\sqrt{5}/5"), ("x+1", "x + 1"), ("1+x", "x+1"),
    (r"\cos x\sin x", r"\sin x\cos x"), (r"-\frac{a}{2b}", "-a/(2b)"),
]  # fmt: skip
NO_EXPRESSIONS_THERE = [("x-1", "x+1"), ("1", "x+1"), ("11", "x+1"), ("7", "x+100")]


@pytest.mark.parametrize(("gold", "answer"), REWRITTEN + NO_EXPRESSIONS_THERE)
def test_the_gold_answer_rewritten_and_pieces_that_are_no_expression_are_no_copies(gold: str, answer: str) -> None:
    assert not is_copied(answer, ELSEWHERE, gold)


@pytest.mark.parametrize("answer", [r"\pi/2", r"2\sqrt5/5", r"\sin x \cos x", "3x+1", "x+10", r"\sqrt5", "2x+1"])
def test_formulas_of_a_problem_are_copies_for_another_gold_answer(answer: str) -> None:
    assert is_copied(answer, ELSEWHERE, "7")


@pytest.mark.parametrize("gold", COPIED)
def test_the_gold_answers_own_text_is_no_copy(gold: str) -> None:
    assert not is_copied(f"$ {gold} $", PROBLEM, gold)
    assert not is_copied(rf"\left({gold}\right)", PROBLEM, gold)


@given(st.text(), st.text(), st.text())
def test_any_text_is_judged_without_an_error(answer: str, problem: str, gold: str) -> None:
    assert not is_copied(gold, problem, gold)
    assert isinstance(is_copied(answer, problem, gold), bool)
