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


@pytest.mark.parametrize("gold", COPIED)
def test_the_gold_answers_own_text_is_no_copy(gold: str) -> None:
    assert not is_copied(f"$ {gold} $", PROBLEM, gold)
    assert not is_copied(rf"\left({gold}\right)", PROBLEM, gold)


@given(st.text(), st.text(), st.text())
def test_any_text_is_judged_without_an_error(answer: str, problem: str, gold: str) -> None:
    assert not is_copied(gold, problem, gold)
    assert isinstance(is_copied(answer, problem, gold), bool)
