"""Whether one evaluation is better than another on the same questions: difference, p-value, and what would show it.

Everything is paired by question and clustered over its samples: a question's difference is the difference of its two
means. That takes the questions' difficulty out of the comparison, which is most of the variance where two checkpoints
of one run are compared (Miller 2024, arXiv 2411.00640, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from wapo_verl.evaluation.arrays import Floats
from wapo_verl.evaluation.intervals import LEVEL, Estimate, estimate_difference

POWER = 0.8
FLIPS = 10_000
_CHUNK = 4_000_000  # signs drawn at once
_TOLERANCE = 1e-9
_NORMAL = NormalDist()
_Z_BOTH = _NORMAL.inv_cdf((1 + LEVEL) / 2) + _NORMAL.inv_cdf(POWER)


@dataclass(frozen=True, slots=True)
class Difference:
    """How an evaluation differs from another one.

    Attributes:
        estimate: of the mean difference, second minus first.
        p_value: of the two-sided permutation test.
        won, lost: shares of the questions on which the second is better, and worse.
        questions_needed: questions that would show a difference as large as the observed one with power .8, at as many
            samples each; None where there is no difference to show.
        samples_needed: samples a question that would show it on as many questions; None where there is no difference,
            where no number of samples is enough, or where a single sample a question does not tell.
    """

    estimate: Estimate
    p_value: float
    won: float
    lost: float
    questions_needed: int | None
    samples_needed: int | None


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison, a value a question.

    Attributes:
        means: (Q,) the questions' means; NaN where a question has no sample.
        variances: (Q,) variance of a question's samples (n - 1 in the denominator); NaN where it has fewer than two.
        samples: (Q,) how many samples each question has.
    """

    means: Floats
    variances: Floats
    samples: npt.NDArray[np.int64]


def difference(first: Side, second: Side, seed: int = 0) -> Difference:
    """Compare two evaluations of the same questions, in the same order.

    Args:
        first: the evaluation that is compared with, a value a question.
        second: the other one.
        seed: of the permutation test's draw.
    """
    gaps = second.means - first.means
    both = ~np.isnan(gaps)
    found = gaps[both]
    return Difference(
        estimate=estimate_difference(found),
        p_value=permutation_p_value(found, seed),
        won=float((found > _TOLERANCE).mean()) if len(found) else math.nan,
        lost=float((found < -_TOLERANCE).mean()) if len(found) else math.nan,
        questions_needed=questions_needed(found),
        samples_needed=samples_needed(first, second),
    )


def permutation_p_value(differences: Floats, seed: int = 0, flips: int = FLIPS) -> float:
    """Return the two-sided p-value of a paired permutation test of the mean difference.

    Where the two sides do not differ, each question's difference is as likely with the other sign. All sign patterns
    are looked at where they are no more than `flips`, else that many are drawn and the observed one is counted among
    them, so that p is never 0 (Phipson and Smyth 2010). Questions without a difference change nothing and are left out.
    """
    found = differences[np.abs(differences) > _TOLERANCE]
    count = len(found)
    if not len(differences):
        return math.nan
    observed = abs(float(found.sum()))
    reached = observed * (1 - _TOLERANCE) - _TOLERANCE
    if 2**count <= flips:
        patterns = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        return float((np.abs((2 * patterns - 1) @ found) >= reached).mean())
    generator, at_once = np.random.default_rng(seed), max(1, _CHUNK // count)
    extreme = 0
    for done in range(0, flips, at_once):
        kept = _random_bits(generator, min(at_once, flips - done), count)  # the others get the other sign
        extreme += int((np.abs(2 * (kept @ found) - found.sum()) >= reached).sum())
    return (1 + extreme) / (1 + flips)


def _random_bits(generator: np.random.Generator, rows: int, count: int) -> Floats:
    """Return (rows, count) zeros and ones."""
    drawn = generator.integers(0, 256, (rows, -(-count // 8)), dtype=np.uint8)
    return np.unpackbits(drawn, axis=1, count=count).astype(np.float64)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for having asked several questions at once (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, highest = [math.nan] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


def questions_needed(differences: Floats) -> int | None:
    """Return the Q at which the difference is (z_.975 + z_.8) standard errors, sd / sqrt(Q) each."""
    if len(differences) < 2 or abs(differences.mean()) < _TOLERANCE:
        return None
    return max(2, math.ceil((_Z_BOTH * differences.std(ddof=1) / differences.mean()) ** 2))


def samples_needed(first: Side, second: Side) -> int | None:
    """Return the n at which the same holds on these questions.

    The variance of a question's difference is that of the true differences plus that of sampling over n (Miller 2024,
    section 3.1), which are told apart where questions have two samples or more.
    """
    gaps = second.means - first.means
    both = ~np.isnan(gaps)
    gaps = gaps[both]
    sampling = (first.variances + second.variances)[both]
    if len(gaps) < 2 or abs(gaps.mean()) < _TOLERANCE or np.isnan(sampling).any():
        return None
    noise = (first.variances / first.samples + second.variances / second.samples)[both].mean()
    between = max(0.0, float(gaps.var(ddof=1)) - float(noise))
    allowed = len(gaps) * float(gaps.mean() / _Z_BOTH) ** 2 - between
    return max(1, math.ceil(float(sampling.mean()) / allowed)) if allowed > 0 else None
