"""Standard errors and intervals against scipy, and their coverage by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from wapo_verl.evaluation.attempts import pass_at_k
from wapo_verl.evaluation.intervals import (
    BONETT_PRICE,
    BOOTSTRAP,
    STUDENT,
    WILSON,
    bootstrap,
    estimate,
    estimate_difference,
    student_quantile,
)


@given(st.integers(1, 5_000))
def test_students_quantile_is_scipys(degrees: int) -> None:
    assert student_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=2e-3)


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_zeros_and_ones_get_scipys_wilson_interval(case: tuple[int, int]) -> None:
    n, right = case
    found = estimate(np.repeat([1.0, 0.0], [right, n - right]))
    wanted = stats.binomtest(right, n).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)
    assert found.method == WILSON
    assert found.mean == pytest.approx(right / n)


def test_the_standard_error_is_the_clustered_one() -> None:
    """The sandwich estimator of a mean with questions as clusters, G / (G - 1) for few clusters."""
    scores = np.random.default_rng(0).random((30, 8))
    residuals = scores - scores.mean()
    clustered = math.sqrt((residuals.sum(axis=1) ** 2).sum() * 30 / 29) / scores.size
    assert estimate(scores.mean(axis=1)).standard_error == pytest.approx(clustered, rel=1e-12)


def test_the_bootstrap_is_scipys() -> None:
    values = np.random.default_rng(0).lognormal(3, 1, 60)
    wanted = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=1).confidence_interval
    low, high = bootstrap(values, seed=0, resamples=20_000)
    assert low == pytest.approx(wanted.low, rel=0.02)
    assert high == pytest.approx(wanted.high, rel=0.02)
    assert estimate(values).method == BOOTSTRAP


def test_paired_differences_get_scipys_t_interval() -> None:
    differences = np.random.default_rng(0).normal(0.05, 0.3, 40)
    wanted = stats.ttest_1samp(differences, 0).confidence_interval()
    found = estimate_difference(differences)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), rel=1e-5)
    assert found.method == STUDENT


def test_single_wins_and_losses_get_bonett_and_prices_interval() -> None:
    """Won by 9, lost by 2 of 50: (w + 1) / (n + 2) and (l + 1) / (n + 2) in place of the shares."""
    found = estimate_difference(np.repeat([1.0, -1.0, 0.0], [9, 2, 39]))
    won, lost = 10 / 52, 3 / 52
    half = stats.norm.ppf(0.975) * math.sqrt((won + lost - (won - lost) ** 2) / 52)
    assert (found.low, found.high) == pytest.approx((won - lost - half, won - lost + half), rel=1e-12)
    assert found.method == BONETT_PRICE
    assert found.mean == pytest.approx(7 / 50)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_alike_has_a_width(value: float) -> None:
    found = estimate(np.full(20, value))
    assert (found.mean, found.standard_error) == (value, 0.0)
    assert found.high - found.low == pytest.approx(0.161, abs=1e-3)
    assert found.low <= value <= found.high


def test_no_difference_at_all_has_a_width() -> None:
    found = estimate_difference(np.zeros(50))
    assert found.low == -found.high
    assert 0.05 < found.high < 0.06


def test_one_question_has_no_standard_error() -> None:
    found = estimate(np.array([0.25]))
    assert found.mean == 0.25
    assert math.isnan(found.standard_error)
    assert math.isnan(found.low)
    assert found.method == ""
    assert math.isnan(estimate_difference(np.array([0.25])).low)
    assert math.isnan(estimate(np.array([12.0])).low)


def test_no_question_has_nothing() -> None:
    found = estimate(np.array([]))
    assert math.isnan(found.mean)
    assert found.questions == 0


def test_questions_without_a_value_are_left_out() -> None:
    assert estimate(np.array([0.0, 1.0, np.nan])) == estimate(np.array([0.0, 1.0]))


@pytest.mark.parametrize("samples", [1, 4, 16])
@pytest.mark.parametrize("difficulty", [(1, 1), (0.3, 0.3), (0.4, 2)])
def test_ninety_five_percent_means_ninety_five(samples: int, difficulty: tuple[float, float]) -> None:
    """Questions of a random difficulty, answered several times each: the interval covers the mean over all questions.

    With one sample a question the coverage of Wilson's interval goes up and down with the number of questions, by .016
    at 100 and by .006 at 400, since counts are whole.
    """
    generator, covered, runs = np.random.default_rng(0), 0, 3_000
    truth = difficulty[0] / sum(difficulty)
    for _ in range(runs):
        right = generator.binomial(samples, generator.beta(*difficulty, 400))
        found = estimate(right / samples)
        covered += found.low <= truth <= found.high
    assert 0.94 <= covered / runs <= 0.96


def test_ninety_five_percent_holds_for_pass_at_k() -> None:
    generator, covered, runs = np.random.default_rng(0), 0, 2_000
    truth = 1 - np.mean((1 - np.random.default_rng(1).beta(0.5, 1.0, 2_000_000)) ** 4)
    for _ in range(runs):
        right = generator.binomial(16, generator.beta(0.5, 1.0, 200))
        found = estimate(pass_at_k(np.full(200, 16), right, 4))
        covered += found.low <= truth <= found.high
    assert 0.94 <= covered / runs <= 0.96


def test_ninety_five_percent_holds_for_lengths() -> None:
    generator, covered, runs = np.random.default_rng(0), 0, 1_000
    for _ in range(runs):
        found = estimate(generator.gamma(2.0, 100.0, 200))
        covered += found.low <= 200.0 <= found.high
    assert 0.93 <= covered / runs <= 0.97  # fewer runs: each takes 2,000 resamples
