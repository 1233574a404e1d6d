"""The mean over questions, its standard error and its 95 % interval.

A question is the unit that is drawn; its samples hang together. So everything here works on one value a question (the
mean of its samples, its pass@k, ...), which is what clustering by question comes to when questions weigh the same
(Miller 2024, arXiv 2411.00640, section 2.2). Which interval is taken, and why:

- **Wilson** for values in [0, 1]. Where they are not all 0 or 1, their spread says how many trials they stand for, and
  Student's t takes the place of the normal quantile (Korn and Graubard 1998; Dean and Pagano 2015). It keeps its
  coverage near 0 and 1, and has a width where all values are 0 or all are 1.
- **bootstrap** for anything else (tokens, weighted rewards): questions drawn again, bias-corrected and accelerated
  (Efron 1987).
- **Bonett-Price** for paired differences that are all -1, 0 or 1 (one sample a question): two questions are added, one
  won and one lost (Bonett and Price 2012).
- **Student's t** for all other paired differences.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from wapo_verl.evaluation.arrays import Floats

LEVEL = 0.95
WILSON, BOOTSTRAP, BONETT_PRICE, STUDENT = "Wilson", "bootstrap", "Bonett-Price", "Student's t"
RESAMPLES = 2_000
_CHUNK = 2_000_000  # values drawn at once
_NORMAL = NormalDist()
_Z = _NORMAL.inv_cdf((1 + LEVEL) / 2)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over questions.

    Attributes:
        mean: the mean of the questions' values.
        standard_error: of the mean, clustered by question; NaN for a single question.
        low, high: the 95 % interval; NaN where there is none.
        method: how the interval was made, one of the names above; "" where there is none.
        questions: how many questions have a value.
    """

    mean: float
    standard_error: float
    low: float
    high: float
    method: str
    questions: int


def estimate(values: Floats, seed: int = 0) -> Estimate:
    """Estimate the mean of one value a question.

    Args:
        values: (Q,) one value a question; NaN where a question has none, which leaves it out.
        seed: of the bootstrap, where that is the method.
    """
    found = values[~np.isnan(values)]
    mean, error = mean_and_error(found)
    if not len(found):
        return Estimate(mean, error, math.nan, math.nan, "", 0)
    if found.min() >= 0 and found.max() <= 1:
        low, high = wilson(found)
        return Estimate(mean, error, low, high, WILSON if not math.isnan(low) else "", len(found))
    low, high = bootstrap(found, seed)
    return Estimate(mean, error, low, high, BOOTSTRAP if not math.isnan(low) else "", len(found))


def estimate_difference(differences: Floats) -> Estimate:
    """Estimate the mean of one paired difference a question.

    Args:
        differences: (Q,) one difference a question; NaN where a question has none, which leaves it out.
    """
    found = differences[~np.isnan(differences)]
    mean, error = mean_and_error(found)
    if len(found) < 2:
        return Estimate(mean, error, math.nan, math.nan, "", len(found))
    if np.isin(found, (-1.0, 0.0, 1.0)).all():
        low, high = bonett_price(found)
        return Estimate(mean, error, low, high, BONETT_PRICE, len(found))
    half = student_quantile(len(found) - 1) * error
    return Estimate(mean, error, mean - half, mean + half, STUDENT, len(found))


def mean_and_error(values: Floats) -> tuple[float, float]:
    """Return the mean and its standard error, sd / sqrt(Q); NaN for what too few values do not give."""
    count = len(values)
    mean = float(values.mean()) if count else math.nan
    return mean, float(values.std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan


def wilson(values: Floats) -> tuple[float, float]:
    """Return Wilson's score interval of the mean of values in [0, 1]; NaN where a single one is neither 0 nor 1.

    A value of spread s^2 about the mean m stands for m (1 - m) / s^2 trials: one where all are 0 or 1, which makes it
    Wilson's own interval, and more where they are means of several samples.
    """
    count, mean = len(values), float(values.mean())
    spread = float(values.var())
    whole = bool(np.isin(values, (0.0, 1.0)).all())
    if count == 1 and not whole:
        return math.nan, math.nan
    trials = count if whole or not spread else count * mean * (1 - mean) / spread
    quantile = _Z if whole else student_quantile(count - 1)
    squared = quantile**2 / trials
    centre = (mean + squared / 2) / (1 + squared)
    half = math.sqrt(squared * mean * (1 - mean) + squared**2 / 4) / (1 + squared)
    return max(0.0, centre - half), min(1.0, centre + half)


def bonett_price(differences: Floats) -> tuple[float, float]:
    """Return the interval of Bonett and Price for differences of -1, 0 and 1."""
    count = len(differences) + 2
    mean = float(differences.sum()) / count
    variance = (float((differences**2).sum()) + 2) / count - mean**2
    half = _Z * math.sqrt(variance / count)
    return max(-1.0, mean - half), min(1.0, mean + half)


def bootstrap(values: Floats, seed: int, resamples: int = RESAMPLES) -> tuple[float, float]:
    """Return the bias-corrected and accelerated bootstrap interval of a mean (Efron 1987, JASA 82, 171)."""
    count, mean = len(values), float(values.mean())
    if count < 2:
        return math.nan, math.nan
    if values.min() == values.max():
        return mean, mean
    generator, at_once = np.random.default_rng(seed), max(1, _CHUNK // count)
    means = np.concatenate(
        [
            values[generator.integers(0, count, (min(at_once, resamples - done), count))].mean(axis=1)
            for done in range(0, resamples, at_once)
        ]
    )
    below = ((means < mean).mean() + (means <= mean).mean()) / 2
    bias = _NORMAL.inv_cdf(min(max(float(below), 0.5 / resamples), 1 - 0.5 / resamples))
    # The jackknife's differences are the values' own over Q - 1, which the ratio does not see.
    off = values - mean
    acceleration = float((off**3).sum()) / (6 * float((off**2).sum()) ** 1.5)
    shares = [_NORMAL.cdf(bias + (bias + z) / (1 - acceleration * (bias + z))) for z in (-_Z, _Z)]
    low, high = np.quantile(means, shares)
    return float(low), float(high)


def student_quantile(degrees: int) -> float:
    """Return the quantile of Student's t that 97.5 % lie below, to 0.2 %.

    Exact for 1 and 2 degrees of freedom, from 3 on by the expansion 26.7.5 of Abramowitz and Stegun.
    """
    share = (1 + LEVEL) / 2
    if degrees == 1:
        return math.tan(math.pi * (share - 0.5))
    if degrees == 2:
        return 2 * (share - 0.5) * math.sqrt(2 / (4 * share * (1 - share)))
    z, v = _Z, float(degrees)
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4)
    )
