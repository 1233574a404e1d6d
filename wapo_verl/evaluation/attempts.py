"""What several attempts at a question come to: pass@k (one of k is right) and pass^k (all k are right)."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import comb

import numpy as np
import numpy.typing as npt

from wapo_verl.evaluation.arrays import Floats, Integers


def pass_at_k(samples: npt.ArrayLike, right: npt.ArrayLike, k: int) -> Floats:
    """Return for each question the chance that at least one of `k` of its samples is right.

    The unbiased estimate of Chen et al. 2021 (arXiv 2107.03374, equation 1), 1 - C(n-c, k) / C(n, k), in whole numbers
    of any size and rounded once, so that nothing overflows and the last digit is right.

    Args:
        samples: (Q,) whole numbers, n: how many samples each question has.
        right: (Q,) whole numbers, c: how many of them are right.
        k: at least 1.

    Returns:
        (Q,) in [0, 1]; NaN for a question with fewer than `k` samples.

    Raises:
        ValueError: for a `k` below 1, or a question with more right samples than samples.
    """
    n, c = _checked(samples, right, k)
    return _by_pair(n, c, k, lambda n_, c_: 1 - Fraction(comb(n_ - c_, k), comb(n_, k)))


def pass_all_k(samples: npt.ArrayLike, right: npt.ArrayLike, k: int) -> Floats:
    """Return for each question the chance that all of `k` of its samples are right: C(c, k) / C(n, k).

    pass^k of Yao et al. 2024 (tau-bench, arXiv 2406.12045, section 4). Arguments, result and errors as `pass_at_k`.
    """
    n, c = _checked(samples, right, k)
    return _by_pair(n, c, k, lambda n_, c_: Fraction(comb(c_, k), comb(n_, k)))


def _checked(samples: npt.ArrayLike, right: npt.ArrayLike, k: int) -> tuple[Integers, Integers]:
    n, c = np.asarray(samples, np.int64), np.asarray(right, np.int64)
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    if ((c < 0) | (c > n)).any():
        raise ValueError("a question has more right samples than samples, or fewer than none")
    return n, c


def _by_pair(n: Integers, c: Integers, k: int, chance: Callable[[int, int], Fraction]) -> Floats:
    """Evaluate `chance` once for each pair (n, c) that occurs: there are few, however many questions there are."""
    pairs, place = np.unique(np.stack([n, c], axis=-1), axis=0, return_inverse=True)
    values = [float(chance(int(a), int(b))) if a >= k else np.nan for a, b in pairs]
    return np.array(values, np.float64)[place.reshape(n.shape)]
