"""Sort a micro-batch's tokens into the taxonomy's bins, and compute its metrics of them (`wapo_verl.taxonomy`)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from tensordict import TensorDict

from wapo_verl.engine.response_tokens import ResponseTokens
from wapo_verl.engine.step_plan import StepPlan
from wapo_verl.taxonomy.bins import assign_bins, bin_weights, token_weights
from wapo_verl.taxonomy.diagnostics import Diagnostics, Tokens, diagnose
from wapo_verl.taxonomy.statistics import Statistics


@dataclass(frozen=True, slots=True)
class BinnedTokens:
    """The N response tokens of a micro-batch.

    Attributes:
        advantages: (N,) float, before any weight; zero on what the policy did not write.
        bins: (N,) int64, as `assign_bins` gives them.
        weights: (N,) float, what the plan gives each token's bin.
    """

    advantages: torch.Tensor
    bins: torch.Tensor
    weights: torch.Tensor

    @classmethod
    def of(
        cls, plan: StepPlan, model_output: Mapping[str, torch.Tensor], data: TensorDict, tokens: ResponseTokens
    ) -> "BinnedTokens":
        """Sort a micro-batch's tokens by the policy being trained, as it is before the update."""
        prob = _at(model_output, "log_probs", tokens).exp()
        advantages = data["advantages"].values().masked_fill(~tokens.own, 0)
        bins = assign_bins(prob, _at(model_output, "collision", tokens), advantages)
        weights = token_weights(bins, bin_weights() if plan.weights is None else plan.weights)
        return cls(advantages=advantages, bins=bins, weights=weights.to(advantages.dtype))

    @property
    def eligible(self) -> torch.Tensor:
        """() int64: tokens with an advantage."""
        return (self.bins >= 0).sum()

    @property
    def kept(self) -> torch.Tensor:
        """() int64: those of them with a weight above zero."""
        return (self.weights > 0).sum()


def taxonomy_metrics(
    plan: StepPlan,
    binned: BinnedTokens,
    model_output: Mapping[str, torch.Tensor],
    data: TensorDict,
    tokens: ResponseTokens,
    slope: torch.Tensor,
) -> Diagnostics:
    """Return the share of tokens kept where the plan weights any, and every diagnostic where it asks for them.

    Args:
        plan: the step's plan.
        binned: the tokens in their bins.
        model_output: the engine's outputs, its statistics among them.
        data: the micro-batch.
        tokens: its response tokens.
        slope: (total,) float, the derivative of the loss's advantage term by every packed log-prob, on this rank.
    """
    found = Diagnostics({}, {}, {})
    if plan.weights is not None:
        pair = (binned.kept.double(), binned.eligible.double())
        found = Diagnostics({"taxonomy/kept_fraction": pair}, {}, {})
    if not plan.taxonomy:
        return found
    padded = tokens.padded
    rollout = data.get("rollout_log_probs", None)
    seen = Tokens(
        log_prob=padded(_at(model_output, "log_probs", tokens)),
        old_log_prob=padded(data["old_log_probs"].values()),
        advantages=padded(binned.advantages),
        mask=padded(tokens.own),
        bins=padded(binned.bins),
        weights=padded(binned.weights),
        statistics=Statistics(
            collision=padded(_at(model_output, "collision", tokens)),
            entropy=padded(_at(model_output, "position_entropy", tokens)),
            square_log_prob=padded(_at(model_output, "square_log_prob", tokens)),
        ),
        # A rank's loss is as many times its share of the whole as there are ranks, whose gradients are averaged.
        gradient=padded(slope[tokens.positions] / data["dp_size"]),
        rollout_log_prob=None if rollout is None else padded(rollout.values()),
    )
    return merged(found, diagnose(seen))


def merged(first: Diagnostics, second: Diagnostics) -> Diagnostics:
    """Return the metrics of both."""
    return Diagnostics(
        means={**first.means, **second.means},
        counts={**first.counts, **second.counts},
        maxima={**first.maxima, **second.maxima},
        minima={**first.minima, **second.minima},
    )


def _at(model_output: Mapping[str, torch.Tensor], name: str, tokens: ResponseTokens) -> torch.Tensor:
    """Return one of the engine's outputs at the response tokens, (N,), without gradient."""
    return model_output[name].values().detach()[tokens.positions]
