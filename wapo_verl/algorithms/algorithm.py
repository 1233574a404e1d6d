"""Define what an algorithm is made of, and what its parts exchange. Nothing here knows veRL."""

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
    """The advantages of one training batch of R rows.

    Attributes:
        rows: (R,) float64, the advantage of each row, given to each token that the policy wrote in it. Factors of the
            whole batch, such as WAPO's normaliser, are multiplied in.
        winners: (R,) bool, true on the rows of the completions that `group/winner_fraction` counts.
        metrics: metric name -> number of this batch, ready to log.
        loser_rows: (R,) float64, the advantages that losers have in a selective negative update, with the same factors
            as `rows`, and zero on every other row; None where `rows` has the losers' advantages already.
    """

    rows: torch.Tensor
    winners: torch.Tensor
    metrics: dict[str, float]
    loser_rows: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class LossInputs:
    """The inputs of a loss: one micro-batch of B rows and T response tokens.

    Attributes:
        log_prob: (B, T) float, log-probability of each token under the policy being trained; carries the gradient.
        old_log_prob: (B, T) float, under the behaviour policy (the one that sampled the token).
        advantages: (B, T) float, each row's advantage, repeated for each of its tokens.
        response_mask: (B, T) bool, true on tokens the policy wrote.
        actor: the actor's settings (veRL's ActorConfig, or any object with the same attributes).
    """

    log_prob: torch.Tensor
    old_log_prob: torch.Tensor
    advantages: torch.Tensor
    response_mask: torch.Tensor
    actor: Any


@dataclass(frozen=True, slots=True)
class TokenLoss:
    """The loss of each token, before it is averaged, and the loss's own metrics.

    Attributes:
        values: (B, T) float, each token's loss; tokens outside the response mask are ignored.
        means: metric name -> (weighted sum, weight), scalars. Both are summed over micro-batches, ranks and
            mini-batches before they are divided, so the logged mean is that of the whole batch.
        maxima: metric name -> scalar; the largest value of the whole batch is logged.
    """

    values: torch.Tensor
    means: Mapping[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    maxima: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Conflict:
    """Settings that contradict each other or the algorithm.

    Attributes:
        level: "error" stops the run, "warning" is printed.
        key: the setting's full key.
        message: what is wrong, and how to fix it.
    """

    level: Literal["error", "warning"]
    key: str
    message: str


def errors(*rows: tuple[bool, str, str]) -> list[Conflict]:
    """Return the rows (whether it applies, key, message) that apply, as errors."""
    return [Conflict("error", key, message) for applies, key, message in rows if applies]


def warnings(*rows: tuple[bool, str, str]) -> list[Conflict]:
    """Return the rows (whether it applies, key, message) that apply, as warnings."""
    return [Conflict("warning", key, message) for applies, key, message in rows if applies]


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One algorithm with all its parts.

    Attributes:
        name: the value of `algorithm.adv_estimator` that selects it.
        advantages: (batch, options) -> Advantages; `options` has one value for each key of `options` below.
        losses: name as `actor.policy_loss.loss_mode` -> loss function. Only losses of its own: empty where the
            algorithm uses one of veRL's losses.
        defaults: veRL key -> the value it gets where the user set none; the printed table keeps this order.
        notes: veRL key -> why it has that value, in a few words, for the printed table.
        options: the algorithm's own keys under `wapo.` -> their allowed values, the default first.
        check: the resolved config -> the settings that contradict the algorithm.
        acts_without_advantage: whether its losses have a term, such as a drift, on tokens without an advantage.
        winners_only: whether updates skip the rows without an advantage where the user does not say.
    """

    name: str
    advantages: Callable[[Batch, Mapping[str, str]], Advantages]
    losses: Mapping[str, Callable[[LossInputs], TokenLoss]]
    defaults: Mapping[str, Default]
    notes: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Sequence[str]] = field(default_factory=dict)
    check: Callable[[Any], list[Conflict]] = lambda config: []
    acts_without_advantage: bool = False
    winners_only: bool = False

    @property
    def loss_mode(self) -> str:
        """The `actor.policy_loss.loss_mode` where nothing else is asked for: the first loss of its own, or veRL's."""
        return next(iter(self.losses), str(self.defaults[LOSS_MODE]))

    def default_options(self) -> dict[str, str]:
        """Return each option's default value."""
        return {name: allowed[0] for name, allowed in self.options.items()}
