"""The four bins of the token taxonomy, and the weights a run gives them.

At a position with next-token distribution p, a sampled token s is a *peak* when p_s >= S = sum_j p_j^2 and a *valley*
when p_s < S; its advantage's sign does the rest. Every loss here is linear in |A|, so a token's weight multiplies its
advantage before the loss: weight 0 takes it out.
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
"""Relative to S: closer is a tie. On a token that was all but certain, p_s and S are both 1 to float32's precision."""


def assign_bins(prob: torch.Tensor, collision: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
    """Return each token's bin.

    A tie (p_s = S: a uniform or a certain distribution) is a peak, and so is a p_s short of S by mere rounding.

    Args:
        prob: float, p_s, the probability of the sampled token under the policy being trained.
        collision: float, S, same shape.
        advantages: float, same shape.

    Returns:
        int64, same shape: an index into `BINS`, or `NO_BIN` (-1) where the advantage is 0.
    """
    valley = prob < collision * (1 - TIE)
    bins = valley.to(torch.int64) + 2 * (advantages < 0)
    return bins.masked_fill_(advantages == 0, NO_BIN)


def resolve_bins(names: Iterable[str]) -> frozenset[str]:
    """Return the bins that `names` stand for: full names, a type (`peak`, `valley`) or a sign (`pos`, `neg`).

    Raises:
        ValueError: no name, or a name that is none of these.
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

    Without arguments every weight is 1. `include` leaves 1 on the bins named and 0 elsewhere, `exclude` the other way
    round. `negative_weights` (`neg_peak`, `neg_valley`, or `neg` for both) then takes the place of the negative bins'
    weights: a negative bin it does not name weighs 0.

    Raises:
        ValueError: `include` and `exclude` together, an unknown or empty list of names, a weight that is negative or
            not finite, one bin weighted twice, or a bin both excluded and given a weight above 0.
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
    """Check `negative_weights` and spell its aliases out."""
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

    A token without a bin has no advantage, hence no gradient: with 0, `weight > 0` says which tokens are kept.

    Args:
        bins: int64, as `assign_bins` gives them.
        weights: a number for every name in `BINS`, as `bin_weights` gives them.
    """
    table = torch.tensor([*(weights[name] for name in BINS), 0.0], dtype=torch.float32, device=bins.device)
    return table[bins]  # NO_BIN, -1, is the last entry
