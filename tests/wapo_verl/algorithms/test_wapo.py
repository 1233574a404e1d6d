"""WAPO's advantages, winners and metrics on hand-made batches. Torch only: no veRL."""

import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wapo_verl.algorithms import ALGORITHMS, Batch, LossInputs, own_losses
from wapo_verl.algorithms.groups import group_advantages, phantom_winner_groups
from wapo_verl.algorithms.wapo import WAPO, winners

KEEP = {"truncated": "keep", "advantage": "none", "averaging": "own"}


def batch(groups: list[int], rewards: list[float], **fields: torch.Tensor) -> Batch:
    return Batch(torch.tensor(rewards), torch.tensor(groups), **fields)


def test_the_package_needs_no_verl() -> None:
    code = "import sys, wapo_verl.algorithms; assert 'verl' not in sys.modules, 'verl is imported'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_table_holds_ours_by_name() -> None:
    assert ALGORITHMS["wapo"] is WAPO
    assert ALGORITHMS.get("grpo") is None, "veRL's own stay veRL's"
    assert (WAPO.loss_mode, ALGORITHMS["raft"].loss_mode) == ("wapo", "gpg")


def test_of_our_losses_only_cpgds_acts_without_an_advantage() -> None:
    assert own_losses(acts_without_advantage=True) == {"cpgd"}
    assert own_losses(acts_without_advantage=False) == {"wapo", "wapo_truncated", "wapo_reinforce", "topr"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(tenths=st.integers(-30, 30), size=st.integers(1, 12))
def test_equal_rewards_have_no_winner_whatever_their_mean_rounds_to(dtype: torch.dtype, tenths: int, size: int) -> None:
    rewards = torch.full((size,), tenths / 10, dtype=dtype)
    assert not group_advantages(rewards, torch.zeros(size, dtype=torch.int64)).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rewards_equal_but_for_rounding_count_as_equal(dtype: torch.dtype) -> None:
    rewards = torch.tensor([0.1 + 0.2, 0.3, 0.3, 1.0, 1.1, 1.2], dtype=dtype)
    found = group_advantages(rewards, torch.tensor([0, 0, 0, 1, 1, 1]))
    assert winners(found).tolist() == [False, False, False, False, False, True]
    assert found[4] == 0.0, "the mean of 1.0, 1.1 and 1.2 is 1.1"


def test_a_small_difference_still_wins() -> None:
    rewards = torch.tensor([0.5, 0.5 + 1e-5], dtype=torch.float32)
    assert winners(group_advantages(rewards, torch.tensor([0, 0]))).tolist() == [False, True]


def test_rows_hold_the_normaliser_over_groups_with_a_winner() -> None:
    found = WAPO.advantages(batch([7, 7, 7, 7, 3, 3, 9], [1.0, 0.0, 0.0, 1.0, 2.0, 2.0, 5.0]), KEEP)
    one = 0.5 / 4 / 1 * 7  # A / G / groups with a winner * rows
    assert found.rows.tolist() == [one, 0.0, 0.0, one, 0.0, 0.0, 0.0]
    assert found.winners.tolist() == [True, False, False, True, False, False, False]
    assert found.metrics == {
        "group/winner_fraction": 2 / 7,
        "group/count": 3.0,
        "group/with_winner": 1.0,
        "group/all_equal": 2.0,
        "group/with_reward": 3.0,
        "group/advantage_size/mean": 4 * 0.5 / 7,
        "group/winner_advantage/mean": 0.5,
    }


def test_a_batch_without_a_winner_is_all_zero_and_says_so() -> None:
    found = WAPO.advantages(batch([0, 0, 1], [0.1, 0.1, 0.7]), KEEP)
    assert not found.rows.any()
    assert found.metrics["group/with_winner"] == 0.0
    assert "group/winner_advantage/mean" not in found.metrics


def test_padding_counts_in_what_verl_divides_by_and_nowhere_else() -> None:
    padding = torch.tensor([False, False, True, True])
    found = WAPO.advantages(batch([0, 0, 1, 1], [1.0, 0.0, 9.0, 0.0], padding=padding), KEEP)
    assert found.rows.tolist() == [0.5 / 2 * 4, 0.0, 0.0, 0.0]
    assert found.metrics["group/winner_fraction"] == 0.5
    assert found.metrics["group/count"] == 1.0


def test_several_outputs_are_one_completion_with_the_last_ones_reward() -> None:
    keys = ["a_b_0_1", "a_b_1_0", "a_b_0_0", "c_0_0", "a_b_0_10", "c_1_0"]
    found = WAPO.advantages(Batch.from_keys(keys, torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0, 1.0])), KEEP)
    assert found.winners.tolist() == [True, False, True, False, True, True]
    assert found.rows[found.winners].tolist() == [0.5 / 2 / 2 * 6] * 4
    assert found.metrics["group/winner_fraction"] == 0.5


@pytest.mark.parametrize(
    ("truncated", "expected"),
    [
        ("keep", [0.5, 0.0, 0.5, 0.0]),  # 1 - 2/4
        ("zero", [0.75, 0.0, 0.0, 0.0]),  # 1 - 1/4
        ("drop", [0.5, 0.0, 0.0, 0.0]),  # as kept, but no winner
    ],
)
def test_truncated_completions(truncated: str, expected: list[float]) -> None:
    rewards, cut = [1.0, 0.0, 1.0, 0.0], torch.tensor([False, False, True, True])
    found = WAPO.advantages(batch([0, 0, 0, 0], rewards, truncated=cut), {**KEEP, "truncated": truncated})
    assert found.rows.tolist() == expected, "4 rows over a group of 4 and 1 group with a winner: the plain advantage"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: batch([0, 0], [1.0, float("nan")]), "row 1 has the reward nan"),
        (lambda: batch([0], [1.0, 2.0]), "group_ids has shape"),
        (lambda: batch([0], [1.0], completion_ids=torch.tensor([0])), "give both or neither"),
        (lambda: Batch.from_keys(["abc"], torch.tensor([1.0])), "key 'abc'"),
        (lambda: Batch.from_keys(["a_b_c"], torch.tensor([1.0])), "key 'a_b_c' does not end in an output's number"),
        (lambda: Batch.from_keys(["a_0_0", "a_0_0"], torch.tensor([1.0, 2.0])).completions(), "each has one last"),
    ],
)
def test_bad_input_is_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("normalisation", "factors"),
    [
        ("none", (1.0, 1.0)),
        ("group_std", (1 / 0.5, 1 / 1.0)),
        ("leave_one_out", (4 / 3, 2.0)),
        ("batch_std", (1 / 0.5**0.5, 1 / 0.5**0.5)),
    ],
)
def test_another_normalisation_scales_and_never_changes_who_wins(
    normalisation: str, factors: tuple[float, float]
) -> None:
    made = batch([0, 0, 0, 0, 1, 1], [1.0, 0.0, 0.0, 1.0, 2.0, 0.0])
    plain = WAPO.advantages(made, KEEP)
    found = WAPO.advantages(made, {**KEEP, "advantage": normalisation})
    assert found.winners.tolist() == plain.winners.tolist() == [True, False, False, True, True, False]
    scale = torch.tensor([factors[0]] * 4 + [factors[1]] * 2, dtype=torch.float64)
    torch.testing.assert_close(found.rows, plain.rows * scale, rtol=1e-7, atol=0.0)


def test_losers_are_folded_as_winners_are_and_stay_out_of_the_rows() -> None:
    found = WAPO.advantages(batch([0, 0, 0, 0, 1, 1], [1.0, 0.0, 0.0, 1.0, 2.0, 2.0]), KEEP)
    assert found.loser_rows is not None
    one = 0.5 / 4 / 1 * 6
    assert found.rows.tolist() == [one, 0.0, 0.0, one, 0.0, 0.0]
    assert found.loser_rows.tolist() == [0.0, -one, -one, 0.0, 0.0, 0.0]


def test_losers_of_a_group_whose_winners_are_all_dropped_carry_nothing() -> None:
    """Nothing of it is trained on, but it counts among the groups with a winner."""
    cut = torch.tensor([True, False, False, False])
    found = WAPO.advantages(batch([0, 0, 1, 1], [1.0, 0.0, 1.0, 0.0], truncated=cut), {**KEEP, "truncated": "drop"})
    assert found.loser_rows is not None
    one = 0.5 / 2 / 2 * 4  # A / G / groups with a winner, the dropped one among them * rows
    assert found.rows.tolist() == [0.0, 0.0, one, 0.0]
    assert found.loser_rows.tolist() == [0.0, 0.0, 0.0, -one]


@pytest.mark.parametrize("name", ["wapo", "cpgd"])
@pytest.mark.parametrize("low", [1.0, 1.5, 10.0])
def test_a_lower_clip_of_one_or_more_is_none(name: str, low: float) -> None:
    log_prob = torch.tensor([[-9.0, -0.1]], dtype=torch.float64, requires_grad=True)
    actor = SimpleNamespace(
        clip_ratio_low=low, clip_ratio_high=0.2, clip_ratio_c=3.0, policy_loss=SimpleNamespace(ppo_kl_coef=0.0)
    )
    ones = torch.ones(1, 2, dtype=torch.float64)
    loss = ALGORITHMS[name].losses[name](LossInputs(log_prob, -ones, -ones, ones.bool(), actor)).values
    assert torch.isfinite(loss).all()
    loss.sum().backward()
    assert log_prob.grad is not None
    assert (log_prob.grad[0, 0] > 0).item(), "a loser's token is pushed down, however improbable it has become"


@pytest.mark.parametrize(
    ("outcomes", "wins"),
    [
        ([1.0, 0.0, 0.0, 0.0, 0.0, 1.0], [True, False, False, False, False, False]),  # the second group's is wrong
        ([0.0, 0.0, 0.0, 0.0, 1.0, 0.0], [False, False, False, False, True, False]),  # nobody is right in the first
        ([1.0, 1.0, 1.0, 1.0, 1.0, 1.0], [False] * 6),
        ([1.0, 1.0, 0.0, 0.0, 0.0, 0.0], [True, True, False, False, False, False]),
    ],
)
def test_an_outcome_gates_who_wins(outcomes: list[float], wins: list[bool]) -> None:
    rewards = [1.0, 0.8, 0.3, 0.1, 0.3, 0.1]
    made = batch([0, 0, 0, 0, 1, 1], rewards, outcomes=torch.tensor(outcomes))
    found = WAPO.advantages(made, KEEP)
    assert found.winners.tolist() == wins
    groups = len({group for group, won in zip([0, 0, 0, 0, 1, 1], wins, strict=True) if won})
    assert found.loser_rows is not None
    for row, won in enumerate(wins):
        size, mean = (4, 0.55) if row < 4 else (2, 0.2)
        assert float(found.rows[row]) == pytest.approx((rewards[row] - mean) / size / groups * 6 if won else 0.0)
    for name in ("grpo_ref", "dr_grpo", "cpgd"):
        algorithm = ALGORITHMS[name]
        lengths = torch.ones(6, dtype=torch.int64)
        gated = algorithm.advantages(replace(made, lengths=lengths), algorithm.default_options()).rows
        assert (gated > 0).tolist() == wins, name


def test_a_padding_rows_outcome_says_nothing() -> None:
    padding = torch.tensor([False, False, True])
    made = batch([0, 0, 0], [1.0, 0.5, 0.0], padding=padding, outcomes=torch.tensor([1.0, 1.0, 0.0]))
    assert not WAPO.advantages(made, KEEP).rows.any(), "both real completions are right"


def test_groups_with_a_winner_and_no_right_answer_are_counted() -> None:
    groups, real = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([True] * 5 + [False])
    plain = torch.tensor([0.1, -0.1, 0.1, -0.1, 0.0, 0.5], dtype=torch.float64)
    right = torch.tensor([0.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    assert phantom_winner_groups(plain, right, groups, real) == 1


def test_a_dropped_truncated_completion_is_no_loser_either() -> None:
    cut = torch.tensor([False, True, False])
    found = WAPO.advantages(batch([0, 0, 0], [1.0, 0.0, 0.0], truncated=cut), {**KEEP, "truncated": "drop"})
    assert found.loser_rows is not None
    assert (found.loser_rows != 0).tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("advantage", "ratio", "gradient"),
    [
        (2.0, 0.01, -2.0 * 0.01),  # no lower clip for a winner
        (2.0, 9.9, -2.0 * 9.9),
        (2.0, 10.1, 0.0),
        (-2.0, 0.79, 0.0),  # punished far enough
        (-2.0, 0.81, 2.0 * 0.81),
        (-2.0, 9.9, 2.0 * 9.9),
        (-2.0, 10.1, 0.0),  # the dual clip
        (0.0, 3.0, 0.0),
    ],
)
def test_a_losers_token_is_clipped_on_both_sides_and_a_winners_above(
    advantage: float, ratio: float, gradient: float
) -> None:
    log_prob = torch.tensor([[math.log(ratio) - 1.0]], dtype=torch.float64, requires_grad=True)
    inputs = LossInputs(
        log_prob=log_prob,
        old_log_prob=torch.tensor([[-1.0]], dtype=torch.float64),
        advantages=torch.tensor([[advantage]], dtype=torch.float64),
        response_mask=torch.tensor([[True]]),
        actor=SimpleNamespace(clip_ratio_low=0.2, clip_ratio_high=9.0),
    )
    WAPO.losses["wapo"](inputs).values.sum().backward()
    assert log_prob.grad is not None
    assert log_prob.grad.item() == pytest.approx(gradient)
