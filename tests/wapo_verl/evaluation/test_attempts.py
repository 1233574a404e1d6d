"""pass@k and pass^k against every subset, and where floating point would overflow."""

import math
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wapo_verl.evaluation.attempts import pass_all_k, pass_at_k


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_they_are_the_shares_of_the_subsets_of_k_samples(case: tuple[int, int, int]) -> None:
    n, c, k = case
    subsets = list(combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k([n], [c], k)[0] == float(Fraction(sum(map(any, subsets)), len(subsets)))
    assert pass_all_k([n], [c], k)[0] == float(Fraction(sum(map(all, subsets)), len(subsets)))


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_more_attempts_never_lower_pass_at_k_and_never_raise_pass_all_k(case: tuple[int, int]) -> None:
    n, c = case
    best = [pass_at_k([n], [c], k)[0] for k in range(1, n + 1)]
    every = [pass_all_k([n], [c], k)[0] for k in range(1, n + 1)]
    assert best[0] == every[0] == c / n
    assert best == sorted(best)
    assert every == sorted(every, reverse=True)
    assert (best[-1], every[-1]) == (float(c > 0), float(c == n))


def test_one_right_answer_in_four_is_surely_among_all_four() -> None:
    assert pass_at_k([4], [1], 4)[0] == 1.0  # veRL's best@4 is 0.684 here


def test_counts_too_large_for_floating_point_give_the_exact_share() -> None:
    found = pass_at_k([20_000], [3], 10_000)[0]
    assert found == float(1 - Fraction(math.comb(19_997, 10_000), math.comb(20_000, 10_000)))
    assert 0.874 < found < 0.876


def test_a_question_with_fewer_samples_than_k_has_no_value() -> None:
    found = pass_at_k([4, 2, 4], [1, 2, 0], 3)
    assert np.isnan(found).tolist() == [False, True, False]
    assert np.isnan(pass_all_k([2], [2], 3)).all()


def test_each_question_has_its_own_number_of_samples() -> None:
    assert pass_at_k([2, 4, 8], [1, 1, 1], 2).tolist() == [1.0, 0.5, 0.25]


def test_no_question_gives_no_value() -> None:
    assert pass_at_k([], [], 1).shape == (0,)


@pytest.mark.parametrize(
    ("n", "c", "k", "said"), [(4, 1, 0, "at least 1"), (4, 5, 1, "more right"), (4, -1, 1, "none")]
)
def test_numbers_that_cannot_be_are_refused(n: int, c: int, k: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        pass_at_k([n], [c], k)
