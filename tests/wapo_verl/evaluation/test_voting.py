"""Majority@k against every subset counted by hand, and what the draw of subsets costs."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from wapo_verl.evaluation.voting import NO_ANSWER, majority_at_k


def by_hand(votes: list[int], values: list[float], k: int) -> float:
    """Count each subset's votes; leaders share the outcome, and an answer is worth the mean of its samples."""
    worth = {
        vote: float(np.mean([value for other, value in zip(votes, values, strict=True) if other == vote]))
        for vote in votes
    }
    outcomes = []
    for subset in combinations(votes, k):
        counts = Counter(vote for vote in subset if vote != NO_ANSWER)
        leaders = [vote for vote in counts if counts[vote] == max(counts.values())]
        outcomes.append(sum(worth[vote] for vote in leaders) / len(leaders) if leaders else 0.0)
    return float(np.mean(outcomes))


@given(st.data(), st.integers(1, 6), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_it_is_the_mean_over_every_subset(data: st.DataObject, n: int, questions: int) -> None:
    votes = data.draw(npst.arrays(np.int64, (questions, n), elements=st.integers(NO_ANSWER, 3)))
    right = data.draw(npst.arrays(np.float64, (questions, n), elements=st.sampled_from([0.0, 1.0])))
    k = data.draw(st.integers(1, n))
    found = majority_at_k(votes, right, [k])[k]
    wanted = [by_hand(row.tolist(), values.tolist(), k) for row, values in zip(votes, right, strict=True)]
    np.testing.assert_allclose(found.values, wanted, atol=1e-12)
    assert found.sampling_error == 0.0


def test_one_sample_is_its_own_majority() -> None:
    right = np.array([[1.0, 0.0, 0.0, 1.0]])
    assert majority_at_k(np.array([[0, 1, 2, 0]]), right, [1])[1].values.tolist() == [0.5]


def test_those_without_an_answer_do_not_vote() -> None:
    votes, right = np.array([[NO_ANSWER, NO_ANSWER, 7]]), np.array([[0.0, 0.0, 1.0]])
    assert majority_at_k(votes, right, [3])[3].values.tolist() == [1.0]
    assert majority_at_k(np.full((1, 3), NO_ANSWER), right, [3])[3].values.tolist() == [0.0]


def test_labels_need_not_be_small() -> None:
    right = np.array([[1.0, 1.0, 0.0]])
    assert majority_at_k(np.array([[900, 900, 12]]), right, [3])[3].values.tolist() == [1.0]


def test_random_subsets_come_as_near_as_their_error_says() -> None:
    votes = np.random.default_rng(0).integers(0, 4, (5, 18))
    subsets = np.array(list(combinations(range(18), 9)))
    counts = np.stack([(votes[:, subsets] == vote).sum(axis=2) for vote in range(4)])
    leaders = counts == counts.max(axis=0)
    exact = (leaders[0] / leaders.sum(axis=0)).mean()
    found = majority_at_k(votes, (votes == 0).astype(float), [9], seed=1)[9]
    assert 0 < found.sampling_error < 0.005
    assert abs(found.values.mean() - exact) < 4 * found.sampling_error


def test_the_same_seed_draws_the_same_subsets() -> None:
    votes = np.random.default_rng(0).integers(0, 5, (10, 30))
    right = (votes == 0).astype(float)
    first, second = (majority_at_k(votes, right, [15], seed=3)[15] for _ in range(2))
    assert first.values.tolist() == second.values.tolist()


@pytest.mark.parametrize("k", [0, 4])
def test_k_must_fit_the_samples(k: int) -> None:
    with pytest.raises(ValueError, match="between 1 and the 3 samples"):
        majority_at_k(np.zeros((1, 3), int), np.zeros((1, 3)), [k])
