"""A training batch through veRL's own loss code, as an update runs it: no GPU, no Ray, no model.

The loss goes through veRL's real `ppo_loss` in float64, mini-batch by mini-batch, micro-batch by micro-batch, rank by
rank, with gradients averaged over ranks as FSDP does. For tests that hold an algorithm's gradient to its formula.
"""

import functools
import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import settings
from hypothesis import strategies as st

from wapo_verl.algorithms import ALGORITHMS
from wapo_verl.algorithms.batch import spread
from wapo_verl.algorithms.objective import ACTOR
from wapo_verl.engine.loss_metrics import finish_loss_metrics
from wapo_verl.engine.planned_loss import PlannedLoss
from wapo_verl.engine.step_plan import StepPlan
from wapo_verl.rollout.failures import FAILURE
from wapo_verl.training.advantages import Rows, advantages

QUICK = settings(max_examples=30)


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
    failed: bool = False

    @property
    def counts(self) -> bool:
        """Whether it is of a completion that its group has as a member."""
        return not self.padding and not self.failed


@dataclass(frozen=True)
class Split:
    """How veRL cuts the batch up: ranks, rows of a mini-batch over all ranks, micro-batch sizes of each rank."""

    ranks: int
    mini_batch: int
    micro_batches: tuple[int, ...]


@st.composite
def batches(draw: st.DrawFn, outputs: int = 1, failing: bool = True) -> tuple[list[Row], Split]:
    """Draw groups of any sizes, some of failed episodes, padding to fill the last mini-batch, an order and a split."""
    masks = st.lists(st.integers(0, 1), min_size=1, max_size=4).map(tuple)
    rows = []
    for group, size in enumerate(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))):
        for completion in range(size):
            failed = failing and draw(st.integers(0, 3)) == 3
            for output in range(draw(st.integers(1, outputs))):
                reward, prompt = draw(st.integers(0, 3)), draw(st.integers(1, 2))
                mask = (0,) * len(draw(masks)) if failed else draw(masks)
                rows.append(Row(f"prompt_{group}", completion, output, reward, False, mask, prompt, failed))
    ranks = draw(st.sampled_from([1, 2]))
    per_rank = draw(st.integers(1, 4))
    fill = -len(rows) % (ranks * per_rank)
    rows += [Row("pad0f", number, 0, 0, True, (0,), 1) for number in range(fill)]
    rows = draw(st.permutations(rows))
    cuts = sorted(draw(st.sets(st.integers(1, per_rank - 1)))) if per_rank > 1 else []
    sizes = tuple(end - start for start, end in itertools.pairwise([0, *cuts, per_rank]))
    return rows, Split(ranks, ranks * per_rank, sizes)


def padded(rows: list[Row]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (R, T) float64 token-level rewards, on the last token and NaN where failed, and the (R, T) int64 mask."""
    width = max(len(row.mask) for row in rows)
    rewards = torch.zeros(len(rows), width, dtype=torch.float64)
    mask = torch.zeros(len(rows), width, dtype=torch.int64)
    for number, row in enumerate(rows):
        rewards[number, len(row.mask) - 1] = math.nan if row.failed else row.reward / 10
        mask[number, : len(row.mask)] = torch.tensor(row.mask)
    return rewards, mask


def advantages_from_keys(
    rows: list[Row],
    name: str,
    with_losers: bool = False,
    cut: list[bool] | None = None,
    outcomes: list[int] | None = None,
    **options: str,
) -> torch.Tensor:
    """Compute an algorithm's advantages as the plugin's trainer does, from the rows' keys: (R, T) float64.

    `cut` tells of each row whether a length limit cut it, `outcomes` have what gates who wins.
    """
    rewards, mask = padded(rows)
    keys = [f"{row.group}_{row.completion}_{row.output}" for row in rows]
    tags = [{"is_padding": row.padding, **({FAILURE: "retriever"} if row.failed else {})} for row in rows]
    found, cut = ALGORITHMS[name], cut or [False] * len(rows)
    gate = None if outcomes is None else torch.tensor(outcomes, dtype=torch.float64)
    stored = Rows(keys, tags, rewards.sum(dim=-1), gate, gated=gate is not None)
    values, _ = advantages(stored, mask, cut, found, found.default_options() | options, with_losers)
    return spread(values, mask, torch.float64)


def actor_config(name: str, low: float, high: float) -> Any:
    """The algorithm's own actor settings, as veRL's dataclass, with these clips."""
    from verl.workers.config import FSDPActorConfig, PolicyLossConfig

    found = ALGORITHMS[name]
    actor = {k.removeprefix(f"{ACTOR}."): v for k, v in found.defaults.items() if k.startswith(f"{ACTOR}.")}
    policy = {k.removeprefix("policy_loss."): actor.pop(k) for k in list(actor) if k.startswith("policy_loss.")}
    actor |= {"clip_ratio_low": low, "clip_ratio_high": high}
    if name == "wapo":  # whose loss and L are functions of the run's configuration
        policy["loss_mode"], actor["loss_scale_factor"] = "wapo", 64
    return FSDPActorConfig(rollout_n=2, ppo_micro_batch_size_per_gpu=1, policy_loss=PolicyLossConfig(**policy), **actor)


def micro_batch_loss(
    rows: list[Row],
    leaves: list[torch.Tensor],
    old: list[torch.Tensor],
    advantages: list[torch.Tensor],
    config: object,
    split: Split,
    tokens: int,
    plan: StepPlan | None = None,
    collision: list[torch.Tensor] | None = None,
) -> tuple[torch.Tensor, dict]:
    """Call veRL's ppo_loss on one micro-batch, with the nested tensors V1 gives it; through a plan where there is one.

    `collision` has a row's S at each position, and the entropies that the engine would add are not looked at.
    """
    from tensordict import TensorDict
    from verl.utils import tensordict_utils as tu
    from verl.workers.utils.losses import ppo_loss

    def nested(values: list[torch.Tensor]) -> torch.Tensor:
        return torch.nested.as_nested_tensor(values, layout=torch.jagged)

    device = leaves[0].device
    data = TensorDict(
        {
            "prompts": nested([torch.zeros(row.prompt, dtype=torch.int64, device=device) for row in rows]),
            "responses": nested([torch.zeros(len(row.mask), dtype=torch.int64, device=device) for row in rows]),
            "response_mask": nested([torch.tensor(row.mask, device=device) for row in rows]),
            "old_log_probs": nested(old),
            "advantages": nested([values[: len(row.mask)] for row, values in zip(rows, advantages, strict=True)]),
        },
        batch_size=len(rows),
    )
    tu.assign_non_tensor(data, dp_size=split.ranks, batch_num_tokens=tokens, global_batch_size=split.mini_batch)
    output = {"log_probs": nested(leaves)}
    if collision is not None:
        output |= dict.fromkeys(("collision", "square_log_prob", "position_entropy"), nested(collision))
    if plan is None:
        return ppo_loss(config=config, model_output=output, data=data)
    return PlannedLoss(plan, functools.partial(ppo_loss, config=config))(model_output=output, data=data, dp_group=None)


def mini_batches(rows: list[Row], split: Split) -> list[list[int]]:
    """Return the row numbers of each mini-batch, in the order of the ranks: every rank holds a share of the batch."""
    per_rank, share = split.mini_batch // split.ranks, len(rows) // split.ranks
    return [
        [rank * share + first + place for rank in range(split.ranks) for place in range(per_rank)]
        for first in range(0, share, per_rank)
    ]


def verl_gradient(
    rows: list[Row],
    split: Split,
    log_probs: list[torch.Tensor],
    old: list[torch.Tensor],
    advantages: torch.Tensor,
    config: object,
    plan: StepPlan | None = None,
    collision: list[torch.Tensor] | None = None,
) -> tuple[list[torch.Tensor], dict]:
    """Run one epoch of veRL's update on fixed weights: each row's gradient, and the step's metrics."""
    from verl.utils.metric import Metric, reduce_metrics
    from verl.utils.py_functional import append_to_dict

    leaves = [values.clone().requires_grad_() for values in log_probs]
    step: dict = {}
    for members in mini_batches(rows, split):
        everywhere: dict[str, list] = {}
        tokens = sum(sum(rows[number].mask) for number in members)
        for rank in range(split.ranks):
            local: dict = {}
            position = members[rank * len(members) // split.ranks]
            for size in split.micro_batches:
                part = slice(position, position + size)
                loss, metrics = micro_batch_loss(
                    rows[part], leaves[part], old[part], list(advantages[part]), config, split, tokens,
                    plan, None if collision is None else collision[part],
                )  # fmt: skip
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
