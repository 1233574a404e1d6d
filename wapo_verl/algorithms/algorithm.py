"""What an algorithm is made of: the record each file here exposes as `ALGORITHM`, and what its parts exchange.

Left out: anything of veRL's. `verl_bridge` turns these parts into what veRL's registries take.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from wapo_verl.algorithms.batch import Batch

Value = bool | int | float | str | None
LOSS_MODE = "actor_rollout_ref.actor.policy_loss.loss_mode"

Default = Value | Callable[[Any], Value]
"""A setting's value, or a function of the whole run's configuration (a DictConfig) that gives it."""


@dataclass(frozen=True, slots=True)
class Advantages:
    """What an algorithm makes of a training batch's rewards.

    Attributes:
        rows: (R,) float64, one number a row, broadcast over the row's own tokens; batch-wide factors are folded in.
        winners: (R,) bool, the rows of the completions that beat the algorithm's baseline.
        metrics: named numbers of this batch, ready to log.
        loser_rows: (R,) float64, what the losers' rows would carry in a selective negative update, folded as `rows`
            are and zero on every other row; None where `rows` holds the losers already.
    """

    rows: torch.Tensor
    winners: torch.Tensor
    metrics: dict[str, float]
    loser_rows: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class LossInputs:
    """One micro-batch as a loss sees it.

    Attributes:
        log_prob: (B, T) float, under the policy being trained; carries the gradient.
        old_log_prob: (B, T) float, under the behaviour policy.
        advantages: (B, T) float, as the algorithm's `advantages` gave them, broadcast over tokens.
        response_mask: (B, T) bool, true on tokens the policy wrote.
        actor: the actor's settings (veRL's ActorConfig, or any mapping-like object with its attributes).
    """

    log_prob: torch.Tensor
    old_log_prob: torch.Tensor
    advantages: torch.Tensor
    response_mask: torch.Tensor
    actor: Any


@dataclass(frozen=True, slots=True)
class TokenLoss:
    """A loss before averaging, and what it measured on the way.

    Attributes:
        values: (B, T) float, each token's loss; what the mask hides is ignored.
        means: metric name -> (weighted sum, weight), scalars; they are summed over micro-batches, ranks and
            mini-batches before they are divided, so that the mean is the batch's own.
        maxima: metric name -> scalar; the largest over everything is kept.
    """

    values: torch.Tensor
    means: Mapping[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    maxima: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """A setting that contradicts the algorithm: an "error" stops the run, a "warning" is printed."""

    level: Literal["error", "warning"]
    key: str
    message: str


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One algorithm, complete.

    Attributes:
        name: its name as `algorithm.adv_estimator`.
        advantages: (batch, options) -> Advantages; `options` holds one value for each key of `options` below.
        losses: name as `actor.policy_loss.loss_mode` -> the loss, those of its own; empty where veRL has its loss.
        defaults: veRL key -> the value it resolves to where the user set nothing, in this order.
        notes: veRL key -> a few words on why, for the printed table.
        options: the algorithm's own keys under `wapo.` -> their allowed values, the default first.
        check: (the resolved config, the keys the user set) -> what contradicts the algorithm.
        acts_without_advantage: whether its losses have a term, such as a drift, on tokens without an advantage.
        winners_only: whether updates leave out the rows without an advantage where the user says nothing of it.
    """

    name: str
    advantages: Callable[[Batch, Mapping[str, str]], Advantages]
    losses: Mapping[str, Callable[[LossInputs], TokenLoss]]
    defaults: Mapping[str, Default]
    notes: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Sequence[str]] = field(default_factory=dict)
    check: Callable[[Any, set[str]], list[Finding]] = lambda config, explicit: []
    acts_without_advantage: bool = False
    winners_only: bool = False

    @property
    def loss_mode(self) -> str:
        """The loss it trains with where the user names no other, as `actor.policy_loss.loss_mode`."""
        return str(self.defaults[LOSS_MODE])

    def default_options(self) -> dict[str, str]:
        """Return each option's default value."""
        return {name: allowed[0] for name, allowed in self.options.items()}
