"""Each baseline's gradient through veRL's own loss code, held to its formula in loops. No GPU, no Ray, no model."""

import math
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.verl_update import (
    QUICK,
    Row,
    Split,
    actor_config,
    advantages_from_keys,
    batches,
    drawn_log_probs,
    mini_batches,
    padded,
    verl_gradient,
)

from wapo_verl.algorithms import ALGORITHMS, Batch
from wapo_verl.engine.step_plan import StepPlan
from wapo_verl.taxonomy.bins import bin_weights
from wapo_verl.verl_plugin.algorithms import estimator, register_all

Completion = list[int]
"""The row numbers of a completion."""
Lengths = list[list[int]]
"""Tokens of each completion of each group."""
Rewards = list[list[float]]
Weight = Callable[[int, int], float]
"""The weight of a token of a group's completion."""
Tokens = Callable[[int], list[tuple[torch.Tensor, torch.Tensor]]]
"""A row's own tokens: new and old log-prob of each."""


@pytest.fixture(scope="module", autouse=True)
def verl() -> None:
    register_all()


def grouped(rows: list[Row]) -> dict[str, dict[int, Completion]]:
    """The completions that are members of each group: neither padding nor failed."""
    groups: dict[str, dict[int, Completion]] = {}
    for number, row in enumerate(rows):
        if row.counts:
            groups.setdefault(row.group, {}).setdefault(row.completion, []).append(number)
    return groups


def reward(rows: list[Row], completion: Completion) -> float:
    return rows[max(completion, key=lambda number: rows[number].output)].reward / 10


def centred(rewards: list[float]) -> list[float]:
    mean = statistics.fmean(rewards)
    return [0.0 if max(rewards) == min(rewards) else value - mean for value in rewards]


def standardised(rewards: list[float]) -> list[float]:
    return [value / (statistics.pstdev(rewards) + 1e-8) for value in centred(rewards)]


def positive(rewards: list[float]) -> list[float]:
    return [max(value, 0.0) for value in rewards]


def chosen(rewards: list[float]) -> list[float]:
    return [float(value > 0) for value in rewards]


def clipped(new: torch.Tensor, old: torch.Tensor, advantage: float, low: float, high: float) -> torch.Tensor:
    rho = torch.exp(new - old)
    return -torch.minimum(rho * advantage, torch.clamp(rho, 1 - low, 1 + high) * advantage)


def upper_clipped(new: torch.Tensor, old: torch.Tensor, advantage: float, low: float, high: float) -> torch.Tensor:
    rho = torch.exp(new - old)
    return -torch.minimum(rho * advantage, torch.clamp(rho, max=1 + high) * advantage)


def likelihood(new: torch.Tensor, old: torch.Tensor, advantage: float, low: float, high: float) -> torch.Tensor:
    return -new * advantage


def per_completion(lengths: Lengths, rewards: Rewards) -> Weight:
    count = sum(len(group) for group in lengths)
    return lambda group, member: 1 / (count * lengths[group][member])


def per_positive_completion(lengths: Lengths, rewards: Rewards) -> Weight:
    count = max(sum(reward > 0 for group in rewards for reward in group), 1)
    return lambda group, member: 1 / (count * lengths[group][member])


def per_group(lengths: Lengths, rewards: Rewards) -> Weight:
    return lambda group, member: 1 / (len(lengths) * sum(lengths[group]))


def by_the_longest(lengths: Lengths, rewards: Rewards) -> Weight:
    count, longest = sum(len(group) for group in lengths), max(max(group) for group in lengths)
    return lambda group, member: 1 / (count * longest)


def above_a_lowered_mean(rewards: list[float]) -> list[float]:
    return [value + 0.1 for value in centred(rewards)]


FORMULAS = {
    "grpo_ref": (standardised, clipped, per_completion),
    "dr_grpo": (centred, clipped, by_the_longest),
    "dapo": (standardised, clipped, per_group),
    "dr_dapo": (centred, clipped, per_group),
    "raft": (chosen, likelihood, per_positive_completion),
    "raft_pp": (positive, upper_clipped, per_positive_completion),
    "asymre": (above_a_lowered_mean, likelihood, by_the_longest),
}


def own_tokens(rows: list[Row], leaves: list[torch.Tensor], old: list[torch.Tensor]) -> Tokens:
    def tokens(number: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        row = rows[number]
        places = [place for place, shown in enumerate(row.mask) if shown]
        return [(leaves[number][row.prompt - 1 + place], old[number][place]) for place in places]

    return tokens


def token_level_loss(name: str, rows: list[Row], tokens: Tokens, low: float, high: float) -> torch.Tensor:
    """Sum over completions and tokens of weight * token loss, as the table of formulas has it."""
    advantages_of, token_loss, weights_of = FORMULAS[name]
    groups = list(grouped(rows).values())
    lengths = [[sum(len(tokens(n)) for n in completion) for completion in group.values()] for group in groups]
    rewards = [[reward(rows, completion) for completion in group.values()] for group in groups]
    weight = weights_of(lengths, rewards)
    loss = torch.zeros((), dtype=torch.float64)
    for number, group in enumerate(groups):
        advantages = advantages_of(rewards[number])
        for member, completion in enumerate(group.values()):
            for new, before in [pair for n in completion for pair in tokens(n)]:
                loss = loss + weight(number, member) * token_loss(new, before, advantages[member], low, high)
    return loss


def gspo_loss(rows: list[Row], tokens: Tokens, low: float, high: float) -> torch.Tensor:
    """Mean over completions of -min(s*A, clip(s)*A), s the geometric mean of the completion's ratios."""
    groups = grouped(rows)
    count = sum(len(group) for group in groups.values())
    loss = torch.zeros((), dtype=torch.float64)
    for group in groups.values():
        advantages = standardised([reward(rows, completion) for completion in group.values()])
        for advantage, (number,) in zip(advantages, group.values(), strict=True):
            pairs = tokens(number)
            if pairs:
                mean = torch.stack([new - before for new, before in pairs]).mean()
                loss = loss + clipped(mean, torch.zeros(()), advantage, low, high) / count
    return loss


def cpgd_loss(rows: list[Row], split: Split, tokens: Tokens, low: float, high: float, weight: str) -> torch.Tensor:
    """Each mini-batch's mean over tokens of the log-ratio objective and the drift (alpha .001, cap 2)."""
    advantage_of: dict[int, float] = {}
    groups = grouped(rows)
    plain = {name: [reward(rows, completion) for completion in group.values()] for name, group in groups.items()}
    count = sum(len(rewards) for rewards in plain.values())
    unequal = sum(len(rewards) for rewards in plain.values() if any(centred(rewards)))
    unequal_groups = sum(1 for rewards in plain.values() if any(centred(rewards)))
    for name, group in groups.items():
        found = centred(plain[name])
        if weight == "std":
            spread = statistics.stdev(plain[name]) if len(found) > 1 else 0.0
            found = [value / (spread + 1e-6) for value in found]
        if weight == "clip_filter":
            found = [value * min(count / max(unequal, 1), 3.0) for value in found]
        if weight == "clip_filter_by_groups":
            found = [value * min(count / max(unequal_groups, 1), 3.0) for value in found]
        for completion, value in zip(group.values(), found, strict=True):
            advantage_of |= dict.fromkeys(completion, value)
    bounds = torch.log(torch.tensor([1 - low, 1 + high], dtype=torch.float64))
    loss = torch.zeros((), dtype=torch.float64)
    for members in mini_batches(rows, split):
        total = sum(len(tokens(number)) for number in members)
        for number in members:
            for new, before in tokens(number):
                advantage, log_ratio = advantage_of.get(number, 0.0), new - before
                objective = torch.minimum(log_ratio * advantage, torch.clamp(log_ratio, *bounds) * advantage)
                excess = min(float(torch.exp(log_ratio.detach())) - 1, 2.0)
                loss = loss + (0.001 * excess * new - objective) / total
    return loss


POLARITIES: dict[str, Callable[[float], float]] = {
    "psr": lambda share: share,
    "nsr": lambda share: share - 1,
    "w_reinforce": lambda share: 0.1 * share + share - 1,
}


def polarity_loss(name: str, rows: list[Row], split: Split, tokens: Tokens, low: float, high: float) -> torch.Tensor:
    """Each mini-batch's mean over tokens of PPO's clipped loss, the advantage a function of the reward alone."""
    advantage_of: dict[int, float] = {}
    for group in grouped(rows).values():
        for completion in group.values():
            advantage_of |= dict.fromkeys(completion, POLARITIES[name](reward(rows, completion)))
    loss = torch.zeros((), dtype=torch.float64)
    for members in mini_batches(rows, split):
        total = sum(len(tokens(number)) for number in members)
        for number in members:
            for new, before in tokens(number):
                loss = loss + clipped(new, before, advantage_of.get(number, 0.0), low, high) / total
    return loss


def topr_loss(rows: list[Row], tokens: Tokens) -> torch.Tensor:
    """Minus the sum of w (2 r - 1) log p(row), w the row's ratio cut at 1 where r < 1/2, over N * the longest."""
    groups = [list(group.values()) for group in grouped(rows).values()]
    lengths = [[sum(len(tokens(n)) for n in completion) for completion in group] for group in groups]
    scale = by_the_longest(lengths, [])(0, 0) if any(map(any, lengths)) else 0.0
    loss = torch.zeros((), dtype=torch.float64)
    for completion in [each for group in groups for each in group]:
        advantage = 2 * reward(rows, completion) - 1
        for pairs in [tokens(number) for number in completion if tokens(number)]:
            new, before = (torch.stack(column).sum() for column in zip(*pairs, strict=True))
            taper = min(math.exp(float(new.detach() - before)), 1.0) if advantage < 0 else 1.0
            loss = loss - scale * taper * advantage * new
    return loss


def held_to(
    name: str,
    drawn: tuple[list[Row], Split],
    seed: int,
    clips: tuple[float, float],
    reference: Callable[[list[Row], Split, Tokens], torch.Tensor],
    **options: str,
) -> dict[str, Any]:
    """Compare veRL's gradient with the reference's, mini-batches multiplied by their number; return the metrics."""
    rows, split = drawn
    log_probs, old = drawn_log_probs(rows, seed)
    advantages = advantages_from_keys(rows, name, **options)
    found, metrics = verl_gradient(rows, split, log_probs, old, advantages, actor_config(name, *clips))
    leaves = [values.clone().requires_grad_() for values in log_probs]
    loss = reference(rows, split, own_tokens(rows, leaves, old))
    if loss.requires_grad:
        loss.backward()
    for leaf, got in zip(leaves, found, strict=True):
        wanted = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        torch.testing.assert_close(got, wanted, rtol=1e-7, atol=1e-13)
    return metrics


def count_of(rows: list[Row], split: Split) -> int:
    return len(rows) // split.mini_batch


CLIPS = st.sampled_from([(0.2, 0.2), (0.2, 0.28), (0.5, 9.0)])


@pytest.mark.parametrize("name", sorted(FORMULAS))
def test_the_gradient_is_the_formulas(name: str) -> None:
    @QUICK
    @given(drawn=batches(2), seed=st.integers(0, 2**31), clips=CLIPS)
    def check(drawn: tuple[list[Row], Split], seed: int, clips: tuple[float, float]) -> None:
        held_to(
            name, drawn, seed, clips, lambda rows, split, tokens: (
                count_of(rows, split) * token_level_loss(name, rows, tokens, *clips)
            )
        )  # fmt: skip

    check()


@QUICK
@given(drawn=batches(), seed=st.integers(0, 2**31), clips=CLIPS)
def test_gspo_has_one_ratio_a_completion(drawn: tuple[list[Row], Split], seed: int, clips: tuple[float, float]) -> None:
    held_to(
        "gspo_ref", drawn, seed, clips, lambda rows, split, tokens: (
            count_of(rows, split) * gspo_loss(rows, tokens, *clips)
        )
    )  # fmt: skip


@pytest.mark.parametrize("name", sorted(POLARITIES))
def test_right_and_wrong_answers_have_weights_of_their_own(name: str) -> None:
    @QUICK
    @given(drawn=batches(2), seed=st.integers(0, 2**31), clips=CLIPS)
    def check(drawn: tuple[list[Row], Split], seed: int, clips: tuple[float, float]) -> None:
        held_to(
            name, drawn, seed, clips, lambda rows, split, tokens: polarity_loss(name, rows, split, tokens, *clips)
        )  # fmt: skip

    check()


@QUICK
@given(drawn=batches(2), seed=st.integers(0, 2**31))
def test_topr_tapers_wrong_answers_by_the_ratio_of_the_row(drawn: tuple[list[Row], Split], seed: int) -> None:
    held_to(
        "topr", drawn, seed, (0.2, 0.2),
        lambda rows, split, tokens: count_of(rows, split) * topr_loss(rows, tokens),
    )  # fmt: skip


@pytest.mark.parametrize("name", [*sorted(POLARITIES), "topr"])
@pytest.mark.parametrize("wrong", [-0.5, 1.5])
def test_a_reward_that_is_no_share_of_a_right_answer_is_refused(name: str, wrong: float) -> None:
    batch = Batch(rewards=torch.tensor([1.0, wrong]), group_ids=torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match=rf"has the reward {wrong}: .* must be between 0 and 1; scale it"):
        ALGORITHMS[name].advantages(batch, {})


@pytest.mark.parametrize("weight", ["std", "clip_filter", "clip_filter_by_groups", "equal"])
def test_cpgd_clips_the_logarithm_and_drifts(weight: str) -> None:
    @QUICK
    @given(drawn=batches(2), seed=st.integers(0, 2**31), clips=CLIPS)
    def check(drawn: tuple[list[Row], Split], seed: int, clips: tuple[float, float]) -> None:
        metrics = held_to(
            "cpgd", drawn, seed, clips,
            lambda rows, split, tokens: cpgd_loss(rows, split, tokens, *clips, weight),
            group_weight=weight,
        )  # fmt: skip
        rows, _ = drawn
        log_probs, old = drawn_log_probs(rows, seed)
        tokens = own_tokens(rows, log_probs, old)
        gaps = [float(new - before) for number in range(len(rows)) for new, before in tokens(number)]
        if gaps:
            drift = statistics.fmean(float(torch.tensor(gap).double().exp()) - 1 - gap for gap in gaps)
            assert metrics["actor/cpgd/drift"] == pytest.approx(drift, rel=1e-6)
            capped = statistics.fmean(float(torch.tensor(gap).double().exp()) > 3.0 for gap in gaps)
            assert metrics["actor/cpgd/drift_capped_fraction"] == pytest.approx(capped)

    check()


def completions_of(rewards: Rewards) -> int:
    return sum(len(group) for group in rewards)


def positive_completions_of(rewards: Rewards) -> int:
    return sum(reward > 0 for group in rewards for reward in group)


def groups_with_a_winner_of(rewards: Rewards) -> int:
    return sum(max(group) > min(group) for group in rewards)


def winners_only(rewards: list[float]) -> list[float]:
    return positive(centred(rewards))


KEPT_TOKENS = {
    "grpo_ref": (standardised, clipped, completions_of),
    "dr_grpo": (centred, clipped, completions_of),
    "dapo": (standardised, clipped, len),
    "dr_dapo": (centred, clipped, len),
    "raft": (chosen, likelihood, positive_completions_of),
    "raft_pp": (positive, upper_clipped, positive_completions_of),
    "wapo": (winners_only, upper_clipped, groups_with_a_winner_of),
}
"""Advantage, token loss, and what the sum over completions is divided by; within a row, by its kept tokens."""


def kept_token_loss(
    name: str, rows: list[Row], tokens: Tokens, peaks: list[list[bool]], clips: tuple[float, float]
) -> torch.Tensor:
    """Sum over rows of the mean over the row's kept tokens, times its share of its completion's tokens."""
    advantages_of, token_loss, divisor_of = KEPT_TOKENS[name]
    groups = [list(group.values()) for group in grouped(rows).values()]
    rewards = [[reward(rows, completion) for completion in group] for group in groups]
    divisor = max(divisor_of(rewards), 1)
    loss = torch.zeros((), dtype=torch.float64)
    for group, drawn in zip(groups, rewards, strict=True):
        for completion, advantage in zip(group, advantages_of(drawn), strict=True):
            whole = sum(len(tokens(number)) for number in completion)
            for number in completion:
                kept = [pair for pair, peak in zip(tokens(number), peaks[number], strict=True) if peak]
                for new, before in kept:
                    share = len(tokens(number)) / whole / len(kept) / divisor
                    loss = loss + share * token_loss(new, before, advantage, *clips)
    return loss


@pytest.mark.parametrize(
    ("name", "bins"), [*((name, True) for name in sorted(KEPT_TOKENS)), ("wapo", False), ("grpo_ref", False)]
)
def test_kept_tokens_share_a_completions_weight(name: str, bins: bool) -> None:
    plan = StepPlan(kept_tokens=True, weights=bin_weights(include=["peak"]) if bins else None)

    @settings(max_examples=10)
    @given(drawn=batches(2), seed=st.integers(0, 2**31), clips=CLIPS)
    def check(drawn: tuple[list[Row], Split], seed: int, clips: tuple[float, float]) -> None:
        rows, split = drawn
        log_probs, old = drawn_log_probs(rows, seed)
        collision = [torch.full_like(values, 0.1) for values in log_probs]
        advantages = advantages_from_keys(rows, name, averaging="kept_tokens")
        config = actor_config(name, *clips)
        found, _ = verl_gradient(rows, split, log_probs, old, advantages, config, plan, collision if bins else None)
        leaves = [values.clone().requires_grad_() for values in log_probs]
        tokens = own_tokens(rows, leaves, old)
        peaks = [[not bins or new.item() >= math.log(0.1) for new, _ in tokens(n)] for n in range(len(rows))]
        loss = count_of(rows, split) * kept_token_loss(name, rows, tokens, peaks, clips)
        if loss.requires_grad:
            loss.backward()
        for leaf, got in zip(leaves, found, strict=True):
            wanted = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
            torch.testing.assert_close(got, wanted, rtol=1e-7, atol=1e-13)

    check()


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_without_our_trainer_padding_is_known_by_its_uid(name: str) -> None:
    """veRL calls the estimator with uids alone; a batch that it filled up must not weigh less for that."""
    rows = [
        Row("a", number, 0, reward, False, (1,) * length, 1) for number, (reward, length) in enumerate(((9, 3), (1, 1)))
    ]
    rows += [Row("b", 0, 0, 4, False, (1, 0), 1), *(Row("pad0f", number, 0, 0, True, (0,), 1) for number in range(3))]
    rewards, mask = padded(rows)
    found, _ = estimator(ALGORITHMS[name])(rewards, mask, np.array([row.group for row in rows], dtype=object))
    torch.testing.assert_close(found, advantages_from_keys(rows, name), rtol=0, atol=0)


def test_every_algorithm_is_held_to_a_formula() -> None:
    assert set(ALGORITHMS) == {*FORMULAS, *POLARITIES, "topr", "gspo_ref", "cpgd", "wapo"}, (
        "add the new one's formula here"
    )


@pytest.mark.parametrize("name", ["wapo", "grpo_ref", "raft_pp", *sorted(POLARITIES)])
def test_a_group_of_right_and_wrong_answers_has_a_winner(name: str) -> None:
    """Under NSR too, which reinforces nobody: the guard's rule `no_winner` would alarm in every run of it."""
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.0])
    algorithm = ALGORITHMS[name]
    batch = Batch(rewards=rewards, group_ids=torch.tensor([0, 0, 1, 1]))
    metrics = algorithm.advantages(batch, algorithm.default_options()).metrics
    assert metrics["group/with_winner"] == 1
    assert metrics["group/winner_fraction"] == 0.25
