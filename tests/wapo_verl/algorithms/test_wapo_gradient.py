"""WAPO's gradient through veRL's own loss code, held to the formula written out with loops. No GPU, no Ray, no model.

The advantages go the way they go in a run (veRL's `compute_advantage`, or the rows' keys for several outputs a
session), the loss through veRL's real `ppo_loss` in float64, micro-batch by micro-batch, rank by rank, with gradients
averaged over ranks as FSDP does.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wapo_verl.algorithms import Batch, finish_loss_metrics, register_all
from wapo_verl.algorithms.verl_bridge import spread
from wapo_verl.algorithms.wapo import ALGORITHM

WAPO = ALGORITHM


@dataclass(frozen=True)
class Row:
    """One sequence: its key's parts, its reward in tenths, and its tokens."""

    group: str
    completion: int
    output: int
    reward: int
    padding: bool
    mask: tuple[int, ...]
    prompt: int


@dataclass(frozen=True)
class Split:
    """How veRL cuts the batch up: ranks, rows of a mini-batch over all ranks, micro-batch sizes of each rank."""

    ranks: int
    mini_batch: int
    micro_batches: tuple[int, ...]


@st.composite
def batches(draw: st.DrawFn, outputs: int = 1) -> tuple[list[Row], Split]:
    """Draw groups of any sizes, padding rows to fill the last mini-batch, an order and a split."""
    masks = st.lists(st.integers(0, 1), min_size=1, max_size=4).map(tuple)
    rows = []
    for group, size in enumerate(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))):
        for completion in range(size):
            for output in range(draw(st.integers(1, outputs))):
                reward, prompt = draw(st.integers(0, 3)), draw(st.integers(1, 2))
                rows.append(Row(f"prompt_{group}", completion, output, reward, False, draw(masks), prompt))
    ranks = draw(st.sampled_from([1, 2]))
    per_rank = draw(st.integers(1, 4))
    fill = -len(rows) % (ranks * per_rank)
    rows += [Row("pad0f", number, 0, 0, True, (0,), 1) for number in range(fill)]
    rows = draw(st.permutations(rows))
    cuts = sorted(draw(st.sets(st.integers(1, per_rank - 1)))) if per_rank > 1 else []
    sizes = tuple(end - start for start, end in itertools.pairwise([0, *cuts, per_rank]))
    return rows, Split(ranks, ranks * per_rank, sizes)


@pytest.fixture(scope="module")
def verl() -> None:
    register_all()


def final_rewards(rows: list[Row]) -> dict[tuple[str, int], int]:
    """Return each real completion's reward: its last output's."""
    last = sorted((row for row in rows if not row.padding), key=lambda row: row.output)
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
        if row.padding:
            weights.append(Fraction(0))
            continue
        advantage = Fraction(rewards[row.group, row.completion], 10) - Fraction(sum(members), 10 * len(members))
        weights.append(max(advantage, Fraction(0)) / (len(members) * length * max(with_winner, 1)))
    return weights


def reference_gradient(
    rows: list[Row], split: Split, log_probs: list[torch.Tensor], old: list[torch.Tensor], eps: float, length: int
) -> list[torch.Tensor]:
    """Differentiate the batch loss as the formula has it, each mini-batch multiplied by their number."""
    leaves = [values.clone().requires_grad_() for values in log_probs]
    mini_batches = len(rows) // split.mini_batch
    loss = torch.zeros((), dtype=torch.float64)
    for row, leaf, before, weight in zip(rows, leaves, old, reference_weights(rows, length), strict=True):
        for token, shown in enumerate(row.mask):
            if shown and weight > 0:
                advantage = float(weight) * mini_batches
                rho = torch.exp(leaf[row.prompt - 1 + token] - before[token])
                loss = loss - torch.minimum(rho * advantage, torch.clamp(rho, max=1 + eps) * advantage)
    if loss.requires_grad:
        loss.backward()
    return [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]


def padded(rows: list[Row]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (R, T) float64 token-level rewards, on the last token, and the (R, T) int64 mask."""
    width = max(len(row.mask) for row in rows)
    rewards = torch.zeros(len(rows), width, dtype=torch.float64)
    mask = torch.zeros(len(rows), width, dtype=torch.int64)
    for number, row in enumerate(rows):
        rewards[number, len(row.mask) - 1] = row.reward / 10
        mask[number, : len(row.mask)] = torch.tensor(row.mask)
    return rewards, mask


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


def advantages_from_keys(rows: list[Row]) -> torch.Tensor:
    """Compute them as the plugin's trainer does, from the rows' keys."""
    rewards, mask = padded(rows)
    keys = [f"{row.group}_{row.completion}_{row.output}" for row in rows]
    batch = Batch.from_keys(keys, rewards.sum(dim=-1), padding=[row.padding for row in rows])
    return spread(WAPO.advantages(batch, WAPO.default_options()).rows, mask, torch.float64)


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


def micro_batch_loss(
    rows: list[Row],
    leaves: list[torch.Tensor],
    old: list[torch.Tensor],
    advantages: list[torch.Tensor],
    config: object,
    split: Split,
    tokens: int,
) -> tuple[torch.Tensor, dict]:
    """Call veRL's ppo_loss on one micro-batch, with the nested tensors V1 gives it."""
    from tensordict import TensorDict
    from verl.utils import tensordict_utils as tu
    from verl.workers.utils.losses import ppo_loss

    def nested(values: list[torch.Tensor]) -> torch.Tensor:
        return torch.nested.as_nested_tensor(values, layout=torch.jagged)

    data = TensorDict(
        {
            "prompts": nested([torch.zeros(row.prompt, dtype=torch.int64) for row in rows]),
            "responses": nested([torch.zeros(len(row.mask), dtype=torch.int64) for row in rows]),
            "response_mask": nested([torch.tensor(row.mask) for row in rows]),
            "old_log_probs": nested(old),
            "advantages": nested([values[: len(row.mask)] for row, values in zip(rows, advantages, strict=True)]),
        },
        batch_size=len(rows),
    )
    tu.assign_non_tensor(data, dp_size=split.ranks, batch_num_tokens=tokens, global_batch_size=split.mini_batch)
    return ppo_loss(config=config, model_output={"log_probs": nested(leaves)}, data=data)


def verl_gradient(
    rows: list[Row],
    split: Split,
    log_probs: list[torch.Tensor],
    old: list[torch.Tensor],
    advantages: torch.Tensor,
    config: object,
) -> tuple[list[torch.Tensor], dict]:
    """Run one epoch of veRL's update on fixed weights: each row's gradient, and the step's metrics."""
    from verl.utils.metric import Metric, reduce_metrics
    from verl.utils.py_functional import append_to_dict

    leaves = [values.clone().requires_grad_() for values in log_probs]
    per_rank = split.mini_batch // split.ranks
    share = len(rows) // split.ranks
    step: dict = {}
    for first in range(0, share, per_rank):
        everywhere: dict[str, list] = {}
        members = [
            number
            for rank in range(split.ranks)
            for number in range(rank * share + first, rank * share + first + per_rank)
        ]
        tokens = sum(sum(rows[number].mask) for number in members)
        for rank in range(split.ranks):
            local: dict = {}
            position = rank * share + first
            for size in split.micro_batches:
                part = slice(position, position + size)
                loss, metrics = micro_batch_loss(
                    rows[part], leaves[part], old[part], list(advantages[part]), config, split, tokens
                )
                (loss / split.ranks).backward()
                append_to_dict(local, metrics)
                position += size
            for name, metric in local.items():
                everywhere.setdefault(name, []).append(metric)
        append_to_dict(step, {name: Metric.aggregate_dp(values) for name, values in everywhere.items()})
    metrics = reduce_metrics(step)
    finish_loss_metrics(metrics)
    return [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves], metrics


def drawn_log_probs(rows: list[Row], seed: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Draw log-probs of whole sequences and old ones of responses, with ratios from e^-5 to e^5 and beyond eps."""
    generator = torch.Generator().manual_seed(seed)

    def draw(length: int) -> torch.Tensor:
        return -5 * torch.rand(length, dtype=torch.float64, generator=generator)

    return [draw(row.prompt + len(row.mask)) for row in rows], [draw(len(row.mask)) for row in rows]


QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize(
    ("outputs", "route"), [(1, advantages_from_verl), (1, advantages_from_keys), (3, advantages_from_keys)]
)
def test_the_gradient_is_the_formulas(outputs: int, route: Callable[[list[Row]], torch.Tensor], verl: None) -> None:
    @QUICK
    @given(
        drawn=batches(outputs),
        seed=st.integers(0, 2**31),
        eps=st.sampled_from([0.2, 9.0]),
        length=st.integers(1, 9000),
    )
    def check(drawn: tuple[list[Row], Split], seed: int, eps: float, length: int) -> None:
        rows, split = drawn
        log_probs, old = drawn_log_probs(rows, seed)
        found, _ = verl_gradient(rows, split, log_probs, old, route(rows), actor_config("wapo", eps, length))
        expected = reference_gradient(rows, split, log_probs, old, eps, length)
        for got, wanted, weight in zip(found, expected, reference_weights(rows, length), strict=True):
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
    found, _ = verl_gradient(rows, split, log_probs, old, advantages_from_keys(rows), config)
    mini_batches = len(rows) // split.mini_batch
    for row, got, weight in zip(rows, found, reference_weights(rows, 64), strict=True):
        wanted = torch.zeros_like(got)
        mask = torch.tensor(row.mask, dtype=torch.float64)
        wanted[row.prompt - 1 : row.prompt - 1 + len(row.mask)] = -float(weight) * mini_batches * mask
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=0.0)


@QUICK
@given(drawn=batches(2), seed=st.integers(0, 2**31))
def test_metrics_are_the_batchs_own_however_it_is_split(drawn: tuple[list[Row], Split], seed: int, verl: None) -> None:
    rows, split = drawn
    log_probs, old = drawn_log_probs(rows, seed)
    eps = 0.2
    _, metrics = verl_gradient(rows, split, log_probs, old, advantages_from_keys(rows), actor_config("wapo", eps, 64))
    ratios = [
        math.exp(float(values[row.prompt - 1 + token] - before[token]))
        for row, values, before, weight in zip(rows, log_probs, old, reference_weights(rows, 64), strict=True)
        for token, shown in enumerate(row.mask)
        if shown and weight > 0
    ]
    if not ratios:
        assert "actor/wapo/ratio_mean" not in metrics
        assert metrics["actor/wapo/ratio_max"] == 0.0
        return
    assert metrics["actor/wapo/ratio_mean"] == pytest.approx(sum(ratios) / len(ratios))
    assert metrics["actor/wapo/ratio_max"] == pytest.approx(max(ratios))
    clipped = sum(ratio > 1 + eps for ratio in ratios) / len(ratios)
    assert metrics["actor/wapo/upper_clip_fraction"] == pytest.approx(clipped)
    assert not [name for name in metrics if name.endswith("_parts")]


def test_a_ratio_that_overflows_has_a_zero_gradient_not_nan(verl: None) -> None:
    rows = [Row("a_", 0, 0, 10, False, (1, 1), 1), Row("a_", 1, 0, 0, False, (1, 1), 1)]
    log_probs = [torch.tensor([-0.1, -0.1, 0.0], dtype=torch.float64)] * 2
    old = [torch.tensor([-2000.0, -0.1], dtype=torch.float64), torch.tensor([-math.inf, math.nan], dtype=torch.float64)]
    split = Split(1, 2, (2,))
    found, _ = verl_gradient(rows, split, log_probs, old, advantages_from_keys(rows), actor_config("wapo", 9.0, 4))
    assert found[0].tolist() == pytest.approx([0.0, -0.5 / (2 * 4), 0.0])
    assert found[1].tolist() == [0.0, 0.0, 0.0]
