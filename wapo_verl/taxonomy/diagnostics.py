"""Compute the metrics of the taxonomy for one micro-batch, as sums that add up over micro-batches and ranks.

    taxonomy/tokens/BIN, kept/BIN               tokens in a bin; those of them with a weight above 0
    taxonomy/tokens/SIGN/below_P                tokens with a probability below P (and not below the edge before)
    taxonomy/clipped/SIGN                       share of the kept tokens of a sign to which the loss gives no gradient
    taxonomy/mass/SIGN/below_P, mass/total      share of the gradient's mass on tokens with a probability below P (and
                                                not below the edge before); a token's mass is |dLoss/dln p| (1 - p)
    taxonomy/weighted_probability/SIGN          mean of p, each token weighing |dLoss/dln p|
    taxonomy/probability/mean, /min, /max       p of own tokens
    taxonomy/perplexity                         mean exp(mean -ln p) over all completions
    taxonomy/entropy/SIGN, perplexity/SIGN      mean H over tokens, in nats; mean exp(mean -ln p) over completions
    taxonomy/entropy_change                     dH that the loss's gradient predicts, per unit step in the logits
    taxonomy/chi_square, mismatch_kl            mean of rho^2 - 1, and of rho - ln rho - 1; rho = p / p_behaviour
    taxonomy/probability_gap/mean, /max         largest |p_train - p_rollout| of a completion, over completions

SIGN is `pos` or `neg`, the sign of the advantage. `overlap` has the metrics that need whole groups.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from wapo_verl.taxonomy.bins import BINS
from wapo_verl.taxonomy.statistics import Statistics
from wapo_verl.taxonomy.theory import entropy_change_from_statistics

EDGES = (0.01, 0.1, 0.25, 0.5, 1.0)
"""Upper edges of the probability bins; a token of probability 1 is in the last."""

SIGNS = ("pos", "neg")
LARGEST_LOG_RATIO = 20.0
"""Logged values clip ln rho to this range on both sides, as veRL's losses do."""

Pair = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one micro-batch, B rows of T. Values outside the mask are never used and may be anything.

    Attributes:
        log_prob: (B, T) float, ln p of the sampled token under the policy being trained.
        old_log_prob: (B, T) float, under the behaviour policy.
        advantages: (B, T) float, before any bin's weight.
        mask: (B, T) bool, true on tokens the policy wrote.
        bins: (B, T) int64, as `assign_bins` gives them.
        weights: (B, T) float, as `token_weights` gives them.
        statistics: of (B, T) float.
        gradient: (B, T) float, dLoss/dln p, each token's gradient as the loss computes it: 0 where it is clipped.
        rollout_log_prob: (B, T) float, under the rollout engine; None where the rollout kept none.
    """

    log_prob: torch.Tensor
    old_log_prob: torch.Tensor
    advantages: torch.Tensor
    mask: torch.Tensor
    bins: torch.Tensor
    weights: torch.Tensor
    statistics: Statistics
    gradient: torch.Tensor
    rollout_log_prob: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """Named float64 scalars on the tokens' device.

    Attributes:
        means: name -> (weighted sum, weight). Sum both over micro-batches before dividing. A weight may be 0.
        counts: name -> sum.
        maxima: name -> value.
        minima: name -> value.
    """

    means: Mapping[str, Pair]
    counts: Mapping[str, torch.Tensor]
    maxima: Mapping[str, torch.Tensor]
    minima: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def numbers(self) -> tuple[dict[str, tuple[float, float]], dict[str, float], dict[str, float], dict[str, float]]:
        """Return means, counts, maxima and minima as Python numbers, with one copy from the device."""
        parts = [part for pair in self.means.values() for part in pair]
        scalars = (self.counts, self.maxima, self.minima)
        values = iter(torch.stack([*parts, *(value for each in scalars for value in each.values())]).tolist())
        means = {name: (next(values), next(values)) for name in self.means}
        counts, maxima, minima = ({name: next(values) for name in each} for each in scalars)
        return means, counts, maxima, minima


@torch.no_grad()
def diagnose(tokens: Tokens) -> Diagnostics:
    """Return every diagnostic of a micro-batch; the module's docstring names them."""
    mask = tokens.mask.bool()
    log_prob = torch.where(mask, tokens.log_prob, 0.0)
    binned = mask & (tokens.bins >= 0)
    signs = {"pos": mask & (tokens.advantages > 0), "neg": mask & (tokens.advantages < 0)}
    mass, mass_counts = _mass(tokens, log_prob, binned)
    gap, gap_maxima = _probability_gap(tokens, log_prob, mask)
    means = {**_clipped(tokens, signs), **mass, **_spread(tokens, log_prob, signs), **_mismatch(tokens, mask), **gap}
    prob = log_prob.exp()
    means["taxonomy/probability/mean"] = _mean(prob, mask)
    maxima = {**gap_maxima, "taxonomy/probability/max": torch.where(mask, prob, 0.0).max().double()}
    minima = {"taxonomy/probability/min": torch.where(mask, prob, 1.0).min().double()}
    change = entropy_change_from_statistics(log_prob, tokens.statistics, -tokens.gradient)
    means["taxonomy/entropy_change"] = _mean(change, mask)
    return Diagnostics(means, {**_tokens_per_bin(tokens, binned), **mass_counts}, maxima, minima)


def _sum(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    return torch.where(where, values, 0.0).sum(dtype=torch.float64)


def _mean(values: torch.Tensor, where: torch.Tensor) -> Pair:
    return _sum(values, where), where.sum(dtype=torch.float64)


def _histogram(index: torch.Tensor, values: torch.Tensor, size: int) -> torch.Tensor:
    """Sum values (K,) by index (K,) into (size,) float64."""
    return values.new_zeros(size, dtype=torch.float64).index_add_(0, index, values.double())


def _tokens_per_bin(tokens: Tokens, binned: torch.Tensor) -> dict[str, torch.Tensor]:
    index = tokens.bins.clamp(min=0).flatten()
    found = _histogram(index, binned.flatten(), len(BINS)).unbind()
    kept = _histogram(index, (binned & (tokens.weights > 0)).flatten(), len(BINS)).unbind()
    return {f"taxonomy/tokens/{name}": count for name, count in zip(BINS, found, strict=True)} | {
        f"taxonomy/kept/{name}": count for name, count in zip(BINS, kept, strict=True)
    }


def _clipped(tokens: Tokens, signs: Mapping[str, torch.Tensor]) -> dict[str, Pair]:
    cut = (tokens.gradient == 0).to(torch.float32)
    return {f"taxonomy/clipped/{sign}": _mean(cut, where & (tokens.weights > 0)) for sign, where in signs.items()}


def _mass(
    tokens: Tokens, log_prob: torch.Tensor, binned: torch.Tensor
) -> tuple[dict[str, Pair], dict[str, torch.Tensor]]:
    """Return the gradient's mass and tokens by sign and probability, and the probability that the gradient weighs."""
    mass = torch.where(binned, -torch.expm1(log_prob) * tokens.gradient.abs(), 0.0)
    inner = torch.tensor(EDGES[:-1], device=mass.device)
    place = torch.bucketize(log_prob.exp(), inner, right=True)
    index = place + len(EDGES) * (tokens.advantages < 0)
    parts = _histogram(index.flatten(), mass.flatten(), len(SIGNS) * len(EDGES))
    total = parts.sum()
    names = [f"{sign}/below_{edge:g}" for sign in SIGNS for edge in EDGES]
    means = {f"taxonomy/mass/{name}": (part, total) for name, part in zip(names, parts.unbind(), strict=True)}
    strength = torch.where(binned, tokens.gradient, 0.0).abs()
    for sign, where in zip(SIGNS, (tokens.advantages > 0, tokens.advantages < 0), strict=True):
        weighted = _sum(strength * log_prob.exp(), binned & where)
        means[f"taxonomy/weighted_probability/{sign}"] = (weighted, _sum(strength, binned & where))
    found = _histogram(index.flatten(), binned.flatten(), len(SIGNS) * len(EDGES)).unbind()
    counts = {f"taxonomy/tokens/{name}": count for name, count in zip(names, found, strict=True)}
    return means, {"taxonomy/mass/total": total, **counts}


def _spread(tokens: Tokens, log_prob: torch.Tensor, signs: Mapping[str, torch.Tensor]) -> dict[str, Pair]:
    """Return for each sign the mean entropy over its tokens, and the mean perplexity over completions that have any."""
    means = {"taxonomy/perplexity": _perplexity(log_prob, tokens.mask.bool())}
    for sign, where in signs.items():
        means[f"taxonomy/entropy/{sign}"] = _mean(tokens.statistics.entropy, where)
        means[f"taxonomy/perplexity/{sign}"] = _perplexity(log_prob, where)
    return means


def _perplexity(log_prob: torch.Tensor, where: torch.Tensor) -> Pair:
    lengths = where.sum(dim=1)
    perplexity = torch.exp(-torch.where(where, log_prob, 0.0).sum(dim=1) / lengths.clamp(min=1))
    return _mean(perplexity, lengths > 0)


def _mismatch(tokens: Tokens, mask: torch.Tensor) -> dict[str, Pair]:
    log_ratio = (tokens.log_prob - tokens.old_log_prob).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
    return {
        "taxonomy/chi_square": _mean(torch.expm1(2 * log_ratio), mask),
        "taxonomy/mismatch_kl": _mean(torch.expm1(log_ratio) - log_ratio, mask),
    }


def _probability_gap(
    tokens: Tokens, log_prob: torch.Tensor, mask: torch.Tensor
) -> tuple[dict[str, Pair], dict[str, torch.Tensor]]:
    if tokens.rollout_log_prob is None:
        return {}, {}
    rollout = torch.where(mask, tokens.rollout_log_prob, 0.0)
    largest = (log_prob.exp() - rollout.exp()).abs().amax(dim=1).double()
    means = {"taxonomy/probability_gap/mean": _mean(largest, mask.any(dim=1))}
    return means, {"taxonomy/probability_gap/max": largest.max()}
