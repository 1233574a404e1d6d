"""What a step does to a distribution, held to real gradient steps on logits in float64. Torch only: no veRL, no GPU.

`docs/taxonomy.md` states what always holds and what does not; the counter-examples it quotes are pinned here.
"""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wapo_verl.taxonomy import (
    Statistics,
    entropy_change,
    entropy_change_from_statistics,
    token_statistics,
)


def draws(seed: int, count: int, vocabulary: int, scale: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, one sampled token each (any token, however unlikely) and advantages of both signs, float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(count, vocabulary, generator=generator, dtype=torch.float64)
    sampled = torch.randint(vocabulary, (count,), generator=generator)
    return logits, sampled, torch.randn(count, generator=generator, dtype=torch.float64)


def after_a_step(
    logits: torch.Tensor, sampled: torch.Tensor, advantage: torch.Tensor, step: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Change of p and of H after one real step of gradient descent on the policy-gradient loss, by autograd."""
    z = logits.clone().requires_grad_()
    log_p = torch.log_softmax(z, -1)
    loss = -(advantage * log_p.gather(-1, sampled[:, None])[:, 0]).sum()
    (gradient,) = torch.autograd.grad(loss, z)
    before, after = (torch.log_softmax(x, -1) for x in (logits, logits - step * gradient))
    entropies = [-(x.exp() * x).sum(-1) for x in (before, after)]
    return after.exp() - before.exp(), entropies[1] - entropies[0]


def probability_change(logits: torch.Tensor, sampled: torch.Tensor, advantage: torch.Tensor) -> torch.Tensor:
    """dp_j = A p_j ([j = s] - p_j - p_s + S) per unit step, as docs/taxonomy.md states it; (N, V)."""
    p, own = torch.softmax(logits, -1), torch.nn.functional.one_hot(sampled, logits.shape[-1])
    collision, p_sampled = p.square().sum(-1, keepdim=True), (p * own).sum(-1, keepdim=True)
    return advantage[:, None] * p * (own - p - p_sampled + collision)


@pytest.mark.parametrize("vocabulary", [2, 5, 40])
def test_the_error_of_a_real_step_shrinks_with_the_square_of_the_step(vocabulary: int) -> None:
    logits, sampled, advantage = draws(vocabulary, 200, vocabulary, 1.5)
    errors = []
    for step in (1e-2, 1e-3, 1e-4):
        dp, dh = after_a_step(logits, sampled, advantage, step)
        first_order = (
            step * probability_change(logits, sampled, advantage),
            step * entropy_change(logits, sampled, advantage),
        )
        errors.append([float((dp - first_order[0]).abs().max()), float((dh - first_order[1]).abs().max())])
    for larger, smaller in itertools.pairwise(errors):
        for a, b in zip(larger, smaller, strict=True):
            assert 90 < a / b < 110, errors


def test_probabilities_still_sum_to_one() -> None:
    change = probability_change(*draws(0, 500, 30, 3))
    torch.testing.assert_close(change.sum(-1), torch.zeros(500, dtype=torch.float64), atol=1e-15, rtol=0)


def test_a_token_that_was_not_sampled_can_gain() -> None:
    p = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64)
    sampled, up = torch.tensor([2]), torch.ones(1, dtype=torch.float64)
    change = probability_change(p.log(), sampled, up)  # S = 0.54, so tokens under 0.44 gain
    torch.testing.assert_close(change, torch.tensor([[0.7 * (0.44 - 0.7), 0.2 * (0.44 - 0.2), 0.1 * 1.34]]).double())
    real, _ = after_a_step(p.log(), sampled, up, 1e-3)
    assert (real > 0).tolist() == [[False, True, True]]


def test_a_punished_peak_feeds_every_other_token_and_a_punished_valley_the_larger_ones() -> None:
    p = torch.tensor([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1]], dtype=torch.float64)
    change = probability_change(p.log(), torch.tensor([0, 2]), -torch.ones(2, dtype=torch.float64))
    assert (change > 0).tolist() == [[False, True, True], [True, False, False]]


def signs(logits: torch.Tensor, sampled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Valleys (clear of rounding), clear peaks, and dH of reinforcing the sampled token."""
    p = torch.softmax(logits, -1)
    p_sampled, collision = p.gather(-1, sampled[:, None])[:, 0], p.square().sum(-1)
    change = entropy_change(logits, sampled, torch.ones(len(logits), dtype=logits.dtype))
    return p_sampled < collision * (1 - 1e-12), p_sampled >= collision * (1 + 1e-12), change


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.floats(-600, 600) | st.sampled_from([0.0, 1.0, 1e-6, -40.0, 700.0]), min_size=2, max_size=50), st.data()
)
def test_a_valley_moves_the_entropy_the_way_of_its_advantage(values: list[float], data: st.DataObject) -> None:
    logits = torch.tensor([values], dtype=torch.float64)
    sampled = torch.tensor([data.draw(st.integers(0, len(values) - 1))])
    valley, _, change = signs(logits, sampled)
    if valley:
        assert change >= -1e-16  # nearly uniform or certain distributions end in rounding
        assert -entropy_change(logits, sampled, -torch.ones(1, dtype=torch.float64)) == change


def test_no_valley_among_200_000_draws_is_an_exception_and_some_peaks_are() -> None:
    valleys = peaks = other_way = 0
    for seed in range(50):
        scale = (0.1, 1.0, 3.0, 10.0, 60.0)[seed % 5]
        logits, sampled, _ = draws(seed, 4000, 2 + seed % 49, scale)
        valley, peak, change = signs(logits, sampled)
        assert (change[valley] >= -1e-16).all()
        assert (change[valley & (change.abs() > 1e-12)] > 0).all()
        valleys, peaks = valleys + int(valley.sum()), peaks + int(peak.sum())
        other_way += int((peak & (change > 1e-12)).sum())
    assert valleys > 100_000
    assert 0.02 < other_way / peaks < 0.4


def test_the_step_of_the_proof() -> None:
    """f(p_s) < f(S) <= sum_j p_j f(p_j) for a valley, and f(S) >= 0, with f(x) = x (ln x + H)."""
    logits, *_ = draws(1, 5000, 12, 2)
    p = torch.softmax(logits, -1)
    entropy, collision = -(p * p.log()).sum(-1, keepdim=True), p.square().sum(-1, keepdim=True)
    f_of_collision = collision * (collision.log() + entropy)
    f = p * (p.log() + entropy)
    assert (f_of_collision > 0).all()
    assert ((p * f).sum(-1, keepdim=True) >= f_of_collision).all()
    assert torch.where(p < collision, f < f_of_collision, True).all()


def test_the_peaks_that_go_the_other_way() -> None:
    """p = (0.4, 0.25, five of 0.07): S = 0.247, the token of 0.25 is a peak, and reinforcing it raises the entropy."""
    logits = torch.tensor([[0.4, 0.25] + [0.07] * 5], dtype=torch.float64).log()
    sampled = torch.tensor([1])
    for advantage in (1.0, -1.0):
        weight = torch.tensor([advantage], dtype=torch.float64)
        assert float(logits.exp().square().sum()) == pytest.approx(0.247)
        assert float(entropy_change(logits, sampled, weight)) == pytest.approx(advantage * 0.04324, abs=1e-5)
        _, real = after_a_step(logits, sampled, weight, 1e-3)
        assert float(real) * advantage > 0


@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0])
def test_the_statistics_are_enough(scale: float) -> None:
    logits, sampled, weight = draws(3, 300, 500, scale)
    log_prob = torch.log_softmax(logits, -1).gather(-1, sampled[:, None])[:, 0]
    found = entropy_change_from_statistics(log_prob.float(), token_statistics(logits.float()), weight.float())
    torch.testing.assert_close(found.double(), entropy_change(logits, sampled, weight), atol=1e-5, rtol=1e-4)


def test_tokens_of_probability_zero() -> None:
    logits = torch.tensor([[0.0, 1.0, -torch.inf]], dtype=torch.float64)
    sampled, weight = torch.tensor([0]), torch.ones(1, dtype=torch.float64)
    wanted = entropy_change(logits[:, :2], sampled, weight)
    torch.testing.assert_close(entropy_change(logits, sampled, weight), wanted)
    certain = Statistics(torch.ones(1), torch.zeros(1), torch.zeros(1))
    assert float(entropy_change_from_statistics(torch.zeros(1), certain, torch.ones(1))) == 0
    assert math.isfinite(float(entropy_change_from_statistics(torch.full((1,), -200.0), certain, torch.ones(1))))
