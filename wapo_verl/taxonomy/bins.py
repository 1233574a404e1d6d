"""Sort tokens into the four bins of the taxonomy, and give each bin's tokens a weight.

At a position with next-token distribution p, a sampled token s is a *peak* where p_s >= S = sum_j p_j^2, and a *valley*
where p_s < S. With the sign of its advantage this makes four bins. Every loss of this project is linear in |A|, so a
token's weight multiplies its advantage before the loss; a token of weight 0 has no loss.
"""

import math
from collections.abc import Iterable, Mapping

import torch

BINS = ("pos_peak", "pos_valley", "neg_peak", "neg_valley")
NEGATIVE = frozenset({"neg_peak", "neg_valley"})
ALIASES: Mapping[str, frozenset[str]] = {
    **{name: frozenset({name}) for name in BINS},
    **{part: frozenset(name for name in BINS if part in name.split("_")) for part in ("peak", "valley", "pos", "neg")},
}
NO_BIN = -1
TIE = 1e-5
"""Tolerance of a tie, relative to S: for a token of probability near 1, p_s and S are both 1 in float32."""


def assign_bins(prob: torch.Tensor, collision: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
    """Return each token's bin.

    A tie is a peak: p_s = S where the distribution is uniform or certain. So is a p_s below S by rounding alone.

    Args:
        prob: float, any shape: p_s, the probability of the sampled token under the policy being trained.
        collision: float, same shape: S, the collision probability of the next-token distribution.
        advantages: float, same shape.

    Returns:
        int64, same shape: an index into `BINS`, or `NO_BIN` (-1) where the advantage is 0.
    """
    valley = prob < collision * (1 - TIE)
    bins = valley.to(torch.int64) + 2 * (advantages < 0)
    return bins.masked_fill_(advantages == 0, NO_BIN)


def resolve_bins(names: Iterable[str]) -> frozenset[str]:
    """Return the bins that `names` stand for.

    Args:
        names: names in `BINS`, types (`peak`, `valley`) or signs (`pos`, `neg`).

    Raises:
        ValueError: there is no name, or an unknown one.
    """
    names = [names] if isinstance(names, str) else list(names)
    if not names:
        raise ValueError(f"The list of bins is empty; name at least one of {', '.join(ALIASES)}.")
    unknown = [name for name in names if name not in ALIASES]
    if unknown:
        raise ValueError(f"No bin is called {', '.join(map(repr, unknown))}; use {', '.join(ALIASES)}.")
    return frozenset().union(*(ALIASES[name] for name in names))


def bin_weights(
    include: Iterable[str] | None = None,
    exclude: Iterable[str] | None = None,
    negative_weights: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Return the weight of each bin's tokens, a number for every name in `BINS`.

    Args:
        include: bins that get the weight 1, all others 0; names as in `resolve_bins`.
        exclude: bins that get the weight 0, all others 1; not together with `include`.
        negative_weights: weights of `neg_peak` and `neg_valley`, or of `neg` for both, which replace those of `include`
            and `exclude`; a negative bin that is not named gets 0. None changes nothing.

    Returns:
        Bin -> weight; all are 1 without arguments.

    Raises:
        ValueError: both `include` and `exclude` are given, a list of names is empty or has an unknown one, a weight is
            negative or not finite, a bin gets two weights, or an excluded bin gets a weight above 0.
    """
    if include is not None and exclude is not None:
        raise ValueError("Both include_bins and exclude_bins are given; keep one of them.")
    kept, dropped = frozenset(BINS), frozenset[str]()
    if include is not None:
        kept = resolve_bins(include)
    if exclude is not None:
        dropped = resolve_bins(exclude)
    weights = {name: float(name in kept - dropped) for name in BINS}
    if negative_weights is not None:
        negative = _negative(negative_weights)
        clash = sorted(name for name in dropped if negative.get(name, 0) > 0)
        if clash:
            raise ValueError(f"{', '.join(clash)} is in exclude_bins and has a weight in negative_weights; keep one.")
        weights.update({name: negative.get(name, 0.0) for name in NEGATIVE})
    return weights


def _negative(weights: Mapping[str, float]) -> dict[str, float]:
    """Check `negative_weights` and replace its aliases by the bins they stand for."""
    if not weights:
        raise ValueError("negative_weights is empty; give neg_peak or neg_valley a weight, or leave it out.")
    spelled: dict[str, float] = {}
    for key, value in weights.items():
        if key not in (*NEGATIVE, "neg"):
            raise ValueError(f"negative_weights has no bin {key!r}; use neg_peak, neg_valley or neg.")
        number = float(value)
        if not math.isfinite(number) or number < 0:
            raise ValueError(f"negative_weights.{key} is {value}; give a finite number that is 0 or more.")
        for name in ALIASES[key]:
            if name in spelled:
                raise ValueError(f"negative_weights gives {name} a weight twice; keep one.")
            spelled[name] = number
    return spelled


def token_weights(bins: torch.Tensor, weights: Mapping[str, float]) -> torch.Tensor:
    """Return each token's weight, float32, in the shape of `bins`; 0 where there is no bin.

    A token without a bin has no advantage and therefore no gradient; its weight is 0, so that `weight > 0` holds for
    the kept tokens alone.

    Args:
        bins: int64, as `assign_bins` gives them.
        weights: a number for every name in `BINS`, as `bin_weights` gives them.
    """
    table = torch.tensor([*(weights[name] for name in BINS), 0.0], dtype=torch.float32, device=bins.device)
    return table[bins]  # NO_BIN, -1, is the last entry
