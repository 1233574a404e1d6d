"""The closed forms of what stopping settled groups does, against every outcome there is. No veRL, no GPU."""

from collections.abc import Iterator
from functools import cache
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wapo_verl.algorithms import Batch, algorithm
from wapo_verl.sampling.effect import gradient_share, saved_completions, stopped, winner_probability

WAPO = algorithm("wapo")
assert WAPO is not None
OPTIONS = WAPO.default_options()
PROBABILITIES = (0.0, 0.1, 0.5, 0.9, 1.0)

sizes = st.integers(2, 6).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n - 1)))
rates = st.floats(0, 1)


def outcomes(p: float, n: int) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every outcome of n completions, and its probability."""
    for rewards in product((0, 1), repeat=n):
        right = sum(rewards)
        yield rewards, p**right * (1 - p) ** (n - right)


def sampled(rewards: tuple[int, ...], k: int) -> tuple[int, ...]:
    """What is left of a group's completions: its probe, where all of that is right."""
    return rewards[:k] if all(rewards[:k]) else rewards


@cache
def estimate(n: int, *groups: tuple[int, ...]) -> list[float]:
    """WAPO's batch loss of these groups by the project's own algorithm, group by group, each winner's token loss 1.

    The batch is padded to n rows a group, as the trainer pads it; a mini-batch of all its rows divides by their number.
    """
    keys = [f"g{number}_{session}_0" for number, group in enumerate(groups) for session in range(len(group))]
    rewards = [float(reward) for group in groups for reward in group]
    missing = n * len(groups) - len(keys)
    padded = [*keys, *(f"pad_{row}_0" for row in range(missing))]
    batch = Batch.from_keys(
        keys=padded,
        rewards=torch.tensor([*rewards, *[0.0] * missing]),
        padding=[False] * len(keys) + [True] * missing,
    )
    rows = WAPO.advantages(batch, OPTIONS).rows / len(padded)
    return [float(rows[[key.startswith(f"g{number}_") for key in padded]].sum()) for number in range(len(groups))]


@given(sizes, rates)
def test_the_share_of_the_gradient_is_exact(nk: tuple[int, int], p: float) -> None:
    """A lone group's estimate is its sum over winners, so its expectation is the gradient before the normaliser."""
    n, k = nk
    whole = sum(chance * estimate(n, rewards)[0] for rewards, chance in outcomes(p, n))
    kept = sum(chance * estimate(n, sampled(rewards, k))[0] for rewards, chance in outcomes(p, n))
    assert whole == pytest.approx(p * (1 - p) * (n - 1) / n)
    assert kept == pytest.approx(gradient_share(p, n, k) * whole, abs=1e-12)


@given(sizes, rates)
def test_completions_saved_are_exact(nk: tuple[int, int], p: float) -> None:
    n, k = nk
    left_out = sum(chance * (n - len(sampled(rewards, k))) for rewards, chance in outcomes(p, n))
    assert saved_completions(p, n, k) == pytest.approx(left_out)


@given(sizes, rates)
def test_the_probability_of_a_winner_is_exact(nk: tuple[int, int], p: float) -> None:
    n, k = nk
    wins = sum(chance * (len(set(sampled(rewards, k))) == 2) for rewards, chance in outcomes(p, n))
    assert winner_probability(p, n, k) == pytest.approx(wins, abs=1e-12)


@given(sizes, st.lists(rates, min_size=2, max_size=2))
def test_a_batchs_estimate_is_exact(nk: tuple[int, int], prompts: list[float]) -> None:
    """E[estimate] of prompt b = share * p q (n-1)/n * E[1 / (1 + groups of the others that have a winner)]."""
    n = min(nk[0], 3)
    k = min(nk[1], n - 1)
    found = [0.0, 0.0]
    for first, chance in outcomes(prompts[0], n):
        for second, other in outcomes(prompts[1], n):
            parts = estimate(n, sampled(first, k), sampled(second, k))
            found = [total + chance * other * part for total, part in zip(found, parts, strict=True)]
    for place, p in enumerate(prompts):
        other = winner_probability(prompts[1 - place], n, k)
        normaliser = (1 - other) * 1.0 + other * 0.5
        expected = gradient_share(p, n, k) * p * (1 - p) * (n - 1) / n * normaliser
        assert found[place] == pytest.approx(expected, abs=1e-12)


@given(sizes, rates, rates)
def test_the_share_falls_from_one_to_the_probes_share(nk: tuple[int, int], p: float, other: float) -> None:
    n, k = nk
    low, high = sorted((p, other))
    assert gradient_share(high, n, k) <= gradient_share(low, n, k) + 1e-12
    assert k / n - 1e-12 <= gradient_share(p, n, k) <= 1
    assert gradient_share(1.0, n, k) == pytest.approx(k / n)


@pytest.mark.parametrize("p", PROBABILITIES)
def test_tokens_saved_are_the_share_of_completions(p: float) -> None:
    """Right and wrong completions differ in length; those left out are drawn like any, whatever the probe showed."""
    n, k, right, wrong = 4, 2, 30.0, 70.0
    expected = saved_completions(p, n, k) * (p * right + (1 - p) * wrong)
    found = sum(
        chance * sum(right if reward else wrong for reward in rewards[len(sampled(rewards, k)) :])
        for rewards, chance in outcomes(p, n)
    )
    assert found == pytest.approx(expected)
    assert stopped(p, k) == p**k


@given(sizes, rates)
def test_the_probes_mean_reward_is_the_policys_and_the_batchs_is_not(nk: tuple[int, int], p: float) -> None:
    """The mean over what was sampled, group by group, is too high by p^k (n-k) q / n."""
    n, k = nk
    probe = group = 0.0
    for rewards, chance in outcomes(p, n):
        left = sampled(rewards, k)
        probe += chance * sum(left[:k]) / k
        group += chance * sum(left) / len(left)
    assert probe == pytest.approx(p)
    assert group == pytest.approx(p + p**k * (n - k) * (1 - p) / n)
