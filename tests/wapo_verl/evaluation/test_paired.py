"""Paired comparison against scipy, by brute force, and by simulation: coverage, false alarms, power."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from wapo_verl.evaluation.intervals import estimate_difference
from wapo_verl.evaluation.paired import Side, difference, holm, permutation_p_value, questions_needed, samples_needed


def side(scores: np.ndarray) -> Side:
    """Return a side of (Q, n) scores."""
    samples = np.full(len(scores), scores.shape[1])
    spread = scores.var(axis=1, ddof=1) if scores.shape[1] > 1 else np.full(len(scores), np.nan)
    return Side(scores.mean(axis=1), spread, samples)


@given(st.lists(st.integers(-4, 4), min_size=2, max_size=10))
def test_few_differences_get_scipys_exact_permutation_test(quarters: list[int]) -> None:
    values = np.array(quarters) / 4
    wanted = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert permutation_p_value(values) == pytest.approx(wanted)


def test_many_wins_and_losses_get_mcnemars_exact_test() -> None:
    differences = np.repeat([1.0, -1.0, 0.0], [60, 40, 400])
    wanted = stats.binomtest(60, 100).pvalue
    error = math.sqrt(wanted * (1 - wanted) / 10_000)
    assert permutation_p_value(differences) == pytest.approx(wanted, abs=4 * error)


def test_many_differences_get_the_t_tests_p_value() -> None:
    values = np.random.default_rng(0).normal(0.04, 0.3, 500)
    wanted = stats.ttest_1samp(values, 0).pvalue
    assert permutation_p_value(values) == pytest.approx(wanted, abs=4 * math.sqrt(wanted / 10_000))


def test_no_difference_is_no_evidence_and_a_drawn_p_value_is_never_zero() -> None:
    assert permutation_p_value(np.zeros(30)) == 1.0
    assert permutation_p_value(np.ones(300)) == pytest.approx(1 / 10_001)
    assert math.isnan(permutation_p_value(np.array([])))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_test_of_bonferroni(p_values: list[float]) -> None:
    """A hypothesis is rejected where every set of hypotheses with it in is, each by Bonferroni."""
    places = range(len(p_values))
    families = [family for size in range(1, len(p_values) + 1) for family in combinations(places, size)]
    wanted = [max(min(1.0, len(f) * min(p_values[i] for i in f)) for f in families if place in f) for place in places]
    assert holm(p_values) == pytest.approx(wanted)


def test_won_and_lost_are_shares_of_the_questions() -> None:
    first = side(np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]))
    second = side(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 1.0]]))
    found = difference(first, second)
    assert (found.won, found.lost) == (0.25, 0.25)
    assert found.estimate.mean == pytest.approx(-0.125)


def test_a_question_that_one_side_never_answered_is_no_pair() -> None:
    second = Side(np.array([1.0, np.nan, 0.5]), np.array([0.0, np.nan, 0.5]), np.array([2, 0, 2]))
    assert difference(side(np.zeros((3, 2))), second).estimate.questions == 2


def _two(generator: np.random.Generator, questions: int, samples: int, gain: float) -> tuple[Side, Side]:
    """Sample two policies; the second is right more often by `gain` of what the first misses, on some questions."""
    chance = generator.beta(0.6, 0.6, questions)
    better = chance + (1 - chance) * gain * (generator.random(questions) < 0.5)
    first, second = (generator.random((questions, samples)) < p[:, None] for p in (chance, better))
    return side(first.astype(float)), side(second.astype(float))


@pytest.mark.parametrize("samples", [1, 4])
def test_ninety_five_percent_of_the_intervals_cover_the_difference(samples: int) -> None:
    generator, covered, runs = np.random.default_rng(0), 0, 2_000
    truth = 0.5 * 0.5 * 0.3
    for _ in range(runs):
        first, second = _two(generator, 200, samples, 0.3)
        found = estimate_difference(second.means - first.means)
        covered += found.low <= truth <= found.high
    assert 0.94 <= covered / runs <= 0.96


def test_five_percent_of_equals_are_told_apart() -> None:
    generator, alarms, runs = np.random.default_rng(0), 0, 1_000
    for _ in range(runs):
        first, second = _two(generator, 60, 4, 0.0)
        alarms += permutation_p_value(second.means - first.means, flips=1_000) <= 0.05
    assert 0.035 <= alarms / runs <= 0.065


def test_the_questions_needed_give_power_of_eighty_percent() -> None:
    generator = np.random.default_rng(0)
    first, second = _two(generator, 300_000, 4, 0.3)
    needed = questions_needed(second.means - first.means)
    assert needed is not None
    shown = [_is_shown(*_two(generator, needed, 4, 0.3)) for _ in range(1_000)]
    assert np.mean(shown) == pytest.approx(0.8, abs=0.04)


def test_the_samples_needed_give_power_of_eighty_percent() -> None:
    generator = np.random.default_rng(0)
    needed = samples_needed(*_steady(generator, 200, 2_000))
    assert needed is not None
    assert 2 < needed < 100
    shown = [_is_shown(*_steady(generator, 200, needed)) for _ in range(1_000)]
    assert np.mean(shown) == pytest.approx(0.8, abs=0.04)


def _is_shown(first: Side, second: Side) -> bool:
    return bool(stats.ttest_1samp(second.means - first.means, 0).pvalue <= 0.05)


def _steady(generator: np.random.Generator, questions: int, samples: int) -> tuple[Side, Side]:
    """Sample two policies, the second right more often by the same .02 on every question."""
    chance = generator.uniform(0.2, 0.8, questions)
    first, second = (generator.random((questions, samples)) < p[:, None] for p in (chance, chance + 0.02))
    return side(first.astype(float)), side(second.astype(float))


def test_what_cannot_be_said_is_not_said() -> None:
    single = difference(side(np.array([[0.0], [1.0], [0.0]])), side(np.array([[1.0], [1.0], [1.0]])))
    assert single.samples_needed is None  # one sample a question does not tell its spread
    assert single.questions_needed is not None
    same = difference(side(np.eye(4)), side(np.eye(4)))
    assert (same.questions_needed, same.samples_needed) == (None, None)
    one = difference(side(np.zeros((1, 4))), side(np.ones((1, 4))))
    assert one.estimate.mean == 1.0
    assert math.isnan(one.estimate.low)
    assert one.questions_needed is None


def test_no_number_of_samples_makes_up_for_too_few_questions() -> None:
    """Half of the questions are won and a few less than half are lost, surely: more samples say the same again."""
    first = np.repeat([[0.0] * 4, [1.0] * 4], [11, 9], axis=0)
    found = difference(side(first), side(1 - first))
    assert found.samples_needed is None
    assert found.questions_needed is not None
    assert found.questions_needed > 20
