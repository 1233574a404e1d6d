"""veRL's loss function, obeying a step's plan: weighted tokens, an average over them, a scheduled clip, metrics.

veRL calls a loss with a micro-batch's log-probs and data. This one gives the loss inside it other advantages and
another clip, differentiates its result by the log-probs, and adds metrics. The loss's value and gradient are its own.
"""

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from tensordict import TensorDict

from wapo_verl.algorithms import own_losses
from wapo_verl.engine.loss_metrics import reducible
from wapo_verl.engine.response_tokens import ResponseTokens
from wapo_verl.engine.step_plan import StepPlan
from wapo_verl.engine.taxonomy_metrics import BinnedTokens, merged, taxonomy_metrics
from wapo_verl.engine.token_records import ROW_KEY, TokenRecords
from wapo_verl.engine.update_statistics import update_statistics

Loss = Callable[..., tuple[torch.Tensor, dict[str, Any]]]


class PlannedLoss:
    """A loss function for the micro-batches of one mini-batch.

    Attributes:
        plan: the step's plan.
        loss: veRL's loss function, with this step's settings of the actor.
        actor: those settings, veRL's ActorConfig.
        records: the numbers of the tokens that were seen, where the plan asks for them.

    Raises:
        TypeError: where `loss` is not a partial with the actor's settings under `config`, as veRL's actor makes it.
    """

    def __init__(self, plan: StepPlan, loss: Loss) -> None:
        settings = settings_of(loss)
        self.plan = plan
        self.loss = loss if plan.clip_ratio_high is None else with_clip(loss, plan.clip_ratio_high)
        self.actor = settings_of(self.loss)
        self.records = TokenRecords()
        drifting = own_losses(acts_without_advantage=True)
        self._has_other_terms = settings.use_kl_loss or settings.policy_loss.get("loss_mode", "vanilla") in drifting

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, dict[str, Any]]:
        """Call the loss as veRL does; a call for something else than a policy loss goes straight through."""
        if (kwargs.get("model_output") or {}).get("log_probs") is None:
            return self.loss(*args, **kwargs)
        return self._policy_loss(*args, **kwargs)

    def _policy_loss(
        self, model_output: dict[str, torch.Tensor], data: TensorDict, **others: Any
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        tokens = ResponseTokens.of(data)
        binned = BinnedTokens.of(self.plan, model_output, data, tokens) if self.plan.needs_statistics else None
        planned = self._planned(data, binned, tokens)
        packed = model_output["log_probs"].values()
        loss, metrics = self.loss(model_output=_rooted(model_output, packed), data=planned, **others)
        slope = _slope(loss, packed)
        if self._has_other_terms:
            slope = slope - self._slope_without_advantages(model_output, planned, others)
        packed_entropy = model_output.get("entropy", model_output.get("position_entropy"))
        entropy = None if packed_entropy is None else packed_entropy.values().detach()[tokens.positions]
        log_prob = packed.detach()[tokens.positions]
        if self.plan.record:
            bins = None if binned is None else binned.bins
            self.records.add(list(data[ROW_KEY]), tokens, log_prob, entropy, bins)
        found = update_statistics(
            log_prob=log_prob,
            old_log_prob=data["old_log_probs"].values(),
            advantages=planned["advantages"].values(),
            slope=slope[tokens.positions],
            own=tokens.own,
            entropy=entropy,
        )
        if binned is not None:
            found = merged(found, taxonomy_metrics(self.plan, binned, model_output, data, tokens, slope))
        return loss, {**metrics, **reducible(*found.numbers(), ranks=data["dp_size"])}

    def _planned(self, data: TensorDict, binned: BinnedTokens | None, tokens: ResponseTokens) -> TensorDict:
        """Return the data with the mask and the advantages that the plan has the loss see."""
        planned = data
        if self.plan.winners_kl:
            advantages = data["advantages"].values()
            planned = _with_mask(data, advantages != 0 if self.plan.trains_losers else advantages > 0)
        if binned is not None and self.plan.weights is not None:
            planned = _with_advantages(planned, binned.advantages * binned.weights)
        if self.plan.kept_tokens:
            values = planned["advantages"].values()
            factors = self._per_kept_token(values != 0, tokens)
            planned = _with_advantages(planned, values * factors.to(values.dtype))
        return planned

    def _per_kept_token(self, kept: torch.Tensor, tokens: ResponseTokens) -> torch.Tensor:
        """Return the factor that makes veRL's weight of a token 1 / (kept tokens of its row): (N,) bool -> (N,) float.

        veRL divides a row's sum by its own tokens (`seq-mean-token-mean`) or by `loss_scale_factor`.
        """
        counts = tokens.padded((kept & tokens.own).double()).sum(dim=1).clamp(min=1)
        divisor = tokens.padded(tokens.own.double()).sum(dim=1)
        if self.actor.loss_agg_mode == "seq-mean-token-sum-norm":
            divisor = torch.full_like(counts, self.actor.loss_scale_factor)
        return (divisor / counts)[tokens.rows]

    def _slope_without_advantages(
        self, model_output: dict[str, torch.Tensor], data: TensorDict, others: Mapping[str, Any]
    ) -> torch.Tensor:
        """Return the slope that a KL loss or a drift has by itself, so that a clip shows as a slope of zero."""
        packed = model_output["log_probs"].values().detach().requires_grad_()
        data = _with_advantages(data, torch.zeros_like(data["advantages"].values()))
        loss, _ = self.loss(model_output=_rooted(model_output, packed), data=data, **others)
        return _slope(loss, packed)


def settings_of(loss: Loss) -> Any:
    """Return the actor's settings that a loss function holds; raises TypeError where it holds none."""
    if not isinstance(loss, functools.partial) or "config" not in loss.keywords:
        raise TypeError(
            f"the actor's loss function is {loss!r}: a step plan needs a functools.partial with `config`, as veRL "
            "0.9.1's actor worker makes it"
        )
    return loss.keywords["config"]


def with_clip(loss: Loss, clip_ratio_high: float) -> Loss:
    """Return the loss function with another upper clip; the one given, and its settings, stay as they are.

    Raises:
        TypeError: where `loss` is not a partial with `config`.
    """
    settings = copy.copy(settings_of(loss))
    object.__setattr__(settings, "clip_ratio_high", clip_ratio_high)  # veRL's settings refuse a plain assignment
    assert isinstance(loss, functools.partial)
    return functools.partial(loss.func, *loss.args, **{**loss.keywords, "config": settings})


def _rooted(model_output: Mapping[str, torch.Tensor], packed: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the output with log-probs that hang on `packed`, (total,), so that a loss can be differentiated by it."""
    offsets = model_output["log_probs"].offsets()  # type: ignore[attr-defined]
    return {**model_output, "log_probs": torch.nested.nested_tensor_from_jagged(packed, offsets)}


def _with_advantages(data: TensorDict, values: torch.Tensor) -> TensorDict:
    """Return the same data with other advantages, (N,) one a response token; `data` stays as it is."""
    return _with(data, "advantages", values)


def _with_mask(data: TensorDict, kept: torch.Tensor) -> TensorDict:
    """Return the same data whose loss leaves out all response tokens but the kept ones, (N,) bool."""
    mask = data["response_mask"].values()
    return _with(data, "response_mask", mask * kept.to(mask.dtype))


def _with(data: TensorDict, name: str, values: torch.Tensor) -> TensorDict:
    offsets = data[name].offsets()
    data = data.copy()
    # Without the longest row's length torch would pad to the number of all tokens.
    longest = int(offsets.diff().max())
    data[name] = torch.nested.nested_tensor_from_jagged(values, offsets, max_seqlen=longest)
    return data


def _slope(loss: torch.Tensor, packed: torch.Tensor) -> torch.Tensor:
    """Return dLoss/dlog_prob, (total,); the graph stays for veRL's own backward pass."""
    (slope,) = torch.autograd.grad(loss, packed, retain_graph=True, allow_unused=True)
    return torch.zeros_like(packed) if slope is None else slope
