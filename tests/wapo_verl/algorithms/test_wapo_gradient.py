"""WAPO's gradient through veRL's own loss code, held to the formula written out with loops. No GPU, no Ray, no model.

The advantages go the way they go in a run (veRL's `compute_advantage`, or the rows' keys for several outputs a
session).
"""

import math
import random
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.verl_update import QUICK, Row, Split, advantages_from_keys, batches, drawn_log_probs, padded, verl_gradient

from wapo_verl.engine.step_plan import TaxonomyKeys, step_plans
from wapo_verl.verl_plugin.algorithms import register_all


@pytest.fixture(scope="module")
def verl() -> None:
    register_all()


def final_rewards(rows: list[Row]) -> dict[tuple[str, int], int]:
    """Return the reward of each completion that counts: its last output's."""
    last = sorted((row for row in rows if row.counts), key=lambda row: row.output)
    return {(row.group, row.completion): row.reward for row in last}


def reference_weights(rows: list[Row], length: int) -> list[Fraction]:
    """Write the formula out: A / (G * L * groups with a winner) on a winner's row, 0 elsewhere, exactly."""
    rewards = final_rewards(rows)
    groups: dict[str, list[int]] = {}
    for (group, _), reward in rewards.items():
        groups.setdefault(group, []).append(reward)
    with_winner = sum(1 for members in groups.values() if any(r * len(members) > sum(members) for r in members))
    weights = []
    for row in rows:
        members = groups.get(row.group, [])
        if not row.counts:
            weights.append(Fraction(0))
            continue
        advantage = Fraction(rewards[row.group, row.completion], 10) - Fraction(sum(members), 10 * len(members))
        weights.append(max(advantage, Fraction(0)) / (len(members) * length * max(with_winner, 1)))
    return weights


def reference_gradient(
    rows: list[Row],
    split: Split,
    log_probs: list[torch.Tensor],
    old: list[torch.Tensor],
    eps: float,
    weights: list[Fraction],
) -> list[torch.Tensor]:
    """Differentiate the batch loss as the formula has it, each mini-batch multiplied by their number."""
    leaves = [values.clone().requires_grad_() for values in log_probs]
    mini_batches = len(rows) // split.mini_batch
    loss = torch.zeros((), dtype=torch.float64)
    for row, leaf, before, weight in zip(rows, leaves, old, weights, strict=True):
        for token, shown in enumerate(row.mask):
            if shown and weight > 0:
                advantage = float(weight) * mini_batches
                rho = torch.exp(leaf[row.prompt - 1 + token] - before[token])
                loss = loss - torch.minimum(rho * advantage, torch.clamp(rho, max=1 + eps) * advantage)
    if loss.requires_grad:
        loss.backward()
    return [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]


def advantages_from_verl(rows: list[Row]) -> torch.Tensor:
    """Let veRL's compute_advantage find and call the registered estimator."""
    from tensordict import TensorDict
    from verl.protocol import DataProto
    from verl.trainer.ppo.ray_trainer import compute_advantage

    rewards, mask = padded(rows)
    data = DataProto(
        batch=TensorDict({"token_level_rewards": rewards, "response_mask": mask}, batch_size=len(rows)),
        non_tensor_batch={"uid": np.array([row.group for row in rows], dtype=object)},
    )
    return compute_advantage(data, adv_estimator="wapo").batch["advantages"]


def from_keys(rows: list[Row]) -> torch.Tensor:
    """Compute them as the plugin's trainer does."""
    return advantages_from_keys(rows, "wapo")


def actor_config(loss_mode: str, eps: float, length: int) -> object:
    from verl.workers.config import FSDPActorConfig, PolicyLossConfig

    return FSDPActorConfig(
        rollout_n=2,
        ppo_micro_batch_size_per_gpu=1,
        clip_ratio_high=eps,
        loss_agg_mode="seq-mean-token-sum-norm",
        loss_scale_factor=length,
        policy_loss=PolicyLossConfig(loss_mode=loss_mode),
    )


@pytest.mark.parametrize(("outputs", "route"), [(1, advantages_from_verl), (1, from_keys), (3, from_keys)])
def test_the_gradient_is_the_formulas(outputs: int, route: Callable[[list[Row]], torch.Tensor], verl: None) -> None:
    @QUICK
    @given(
        drawn=batches(outputs, failing=route is from_keys),
        seed=st.integers(0, 2**31),
        eps=st.sampled_from([0.2, 9.0]),
        length=st.integers(1, 9000),
    )
    def check(drawn: tuple[list[Row], Split], seed: int, eps: float, length: int) -> None:
        rows, split = drawn
        log_probs, old = drawn_log_probs(rows, seed)
        found, _ = verl_gradient(rows, split, log_probs, old, route(rows), actor_config("wapo", eps, length))
        weights = reference_weights(rows, length)
        expected = reference_gradient(rows, split, log_probs, old, eps, weights)
        for got, wanted, weight in zip(found, expected, weights, strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-9, atol=0.0)
            assert weight > 0 or not got.any(), "a row that is no winner's has a gradient"

    check()


@QUICK
@given(drawn=batches(2), seed=st.integers(0, 2**31))
def test_without_importance_sampling_it_is_reinforce_on_winners(
    drawn: tuple[list[Row], Split], seed: int, verl: None
) -> None:
    rows, split = drawn
    log_probs, old = drawn_log_probs(rows, seed)
    config = actor_config("wapo_reinforce", 9.0, 64)
    found, _ = verl_gradient(rows, split, log_probs, old, advantages_from_keys(rows, "wapo"), config)
    mini_batches = len(rows) // split.mini_batch
    for row, got, weight in zip(rows, found, reference_weights(rows, 64), strict=True):
        wanted = torch.zeros_like(got)
        mask = torch.tensor(row.mask, dtype=torch.float64)
        wanted[row.prompt - 1 : row.prompt - 1 + len(row.mask)] = -float(weight) * mini_batches * mask
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=0.0)


@QUICK
@given(drawn=batches(2), seed=st.integers(0, 2**31), eps=st.sampled_from([0.2, 1.0, 9.0]))
def test_truncated_weights_bound_the_ratio_and_keep_the_gradient(
    drawn: tuple[list[Row], Split], seed: int, eps: float, verl: None
) -> None:
    """The gradient of a winner's token is -min(rho, 1+eps) times its weight, above the bound too."""
    rows, split = drawn
    log_probs, old = drawn_log_probs(rows, seed)
    config = actor_config("wapo_truncated", eps, 64)
    found, _ = verl_gradient(rows, split, log_probs, old, advantages_from_keys(rows, "wapo"), config)
    mini_batches = len(rows) // split.mini_batch
    drawn_rows = zip(rows, found, log_probs, old, reference_weights(rows, 64), strict=True)
    for row, got, now, before, weight in drawn_rows:
        wanted, own = torch.zeros_like(got), slice(row.prompt - 1, row.prompt - 1 + len(row.mask))
        ratios = torch.exp(now[own] - before).clamp(max=1 + eps)
        wanted[own] = -float(weight) * mini_batches * ratios * torch.tensor(row.mask, dtype=torch.float64)
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=0.0)


@QUICK
@given(drawn=batches(2), seed=st.integers(0, 2**31))
def test_a_dropped_completion_has_no_gradient_and_counts_in_the_normaliser(
    drawn: tuple[list[Row], Split], seed: int, verl: None
) -> None:
    rows, split = drawn
    log_probs, old = drawn_log_probs(rows, seed)
    cut = [random.Random(f"{seed} {row.group} {row.completion}").random() < 0.4 for row in rows]
    advantages = advantages_from_keys(rows, "wapo", cut=cut, truncated="drop")
    found, _ = verl_gradient(rows, split, log_probs, old, advantages, actor_config("wapo", 9.0, 64))
    weights = [Fraction(0) if out else weight for out, weight in zip(cut, reference_weights(rows, 64), strict=True)]
    expected = reference_gradient(rows, split, log_probs, old, 9.0, weights)
    for got, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=0.0)


@QUICK
@given(drawn=batches(), seed=st.integers(0, 2**31))
def test_a_gate_lets_the_right_answers_of_a_group_with_both_win(
    drawn: tuple[list[Row], Split], seed: int, verl: None
) -> None:
    rows, split = drawn
    log_probs, old = drawn_log_probs(rows, seed)
    right = [random.Random(f"{seed} {row.group} {row.completion}").randrange(2) for row in rows]
    both = {
        group
        for group in {row.group for row in rows if row.counts}
        if len({value for row, value in zip(rows, right, strict=True) if row.counts and row.group == group}) == 2
    }
    plain = reference_weights(rows, 64)
    wins = [bool(weight and value and row.group in both) for row, weight, value in zip(rows, plain, right, strict=True)]
    before = len({row.group for row, weight in zip(rows, plain, strict=True) if weight})
    after = len({row.group for row, won in zip(rows, wins, strict=True) if won})
    weights = [weight * before / max(after, 1) if won else Fraction(0) for weight, won in zip(plain, wins, strict=True)]
    advantages = advantages_from_keys(rows, "wapo", outcomes=right)
    found, _ = verl_gradient(rows, split, log_probs, old, advantages, actor_config("wapo", 9.0, 64))
    expected = reference_gradient(rows, split, log_probs, old, 9.0, weights)
    for got, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=0.0)


@QUICK
@given(drawn=batches(2), seed=st.integers(0, 2**31))
def test_losers_that_are_measured_change_no_gradient(drawn: tuple[list[Row], Split], seed: int, verl: None) -> None:
    """`+wapo.taxonomy.losers=true` lets losers' tokens come along with the weight 0."""
    rows, split = drawn
    log_probs, old = drawn_log_probs(rows, seed)
    config = actor_config("wapo", 9.0, 64)
    plain, _ = verl_gradient(rows, split, log_probs, old, advantages_from_keys(rows, "wapo"), config)
    plans = step_plans(TaxonomyKeys(log=True, losers=True), None, None, False, 9.0)
    assert plans.negatives
    advantages = advantages_from_keys(rows, "wapo", with_losers=True)
    collision = [torch.full_like(values, 0.1) for values in log_probs]
    found, metrics = verl_gradient(rows, split, log_probs, old, advantages, config, plans.at(1, 1), collision)
    for got, wanted in zip(found, plain, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=0.0)
    lost = [row for row, values in zip(rows, advantages, strict=True) if (values < 0).any()]
    counted = sum(metrics[f"actor/taxonomy/tokens/{name}"] for name in ("neg_peak", "neg_valley"))
    assert counted * (len(rows) // split.mini_batch) == pytest.approx(sum(sum(row.mask) for row in lost))
    assert metrics["actor/taxonomy/kept/neg_peak"] == metrics["actor/taxonomy/kept/neg_valley"] == 0


def test_a_ratio_that_overflows_has_a_zero_gradient_not_nan(verl: None) -> None:
    rows = [Row("a_", 0, 0, 10, False, (1, 1), 1), Row("a_", 1, 0, 0, False, (1, 1), 1)]
    log_probs = [torch.tensor([-0.1, -0.1, 0.0], dtype=torch.float64)] * 2
    old = [torch.tensor([-2000.0, -0.1], dtype=torch.float64), torch.tensor([-math.inf, math.nan], dtype=torch.float64)]
    split = Split(1, 2, (2,))
    found, _ = verl_gradient(
        rows, split, log_probs, old, advantages_from_keys(rows, "wapo"), actor_config("wapo", 9.0, 4)
    )
    assert found[0].tolist() == pytest.approx([0.0, -0.5 / (2 * 4), 0.0])
    assert found[1].tolist() == [0.0, 0.0, 0.0]
