"""The numbers of a validation in training, as an evaluation computes them, for the run's own log.

veRL's `best@N` draws with replacement and its means have no error; these stand beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wapo_verl.environments.registry import environment_of
from wapo_verl.evaluation.attempts import pass_at_k
from wapo_verl.evaluation.intervals import mean_and_error
from wapo_verl.evaluation.metrics import is_binary

REWARD = "reward"
"""The name under which veRL lists the scores of a validation's samples."""


def validation_metrics(
    data_sources: Sequence[str], uids: Sequence[str], infos: Mapping[str, Sequence[Any]]
) -> dict[str, float]:
    """Return `val/SOURCE/mean`, `/standard_error`, `/pass@k` and `/failed/REASON` for each data source.

    Args:
        data_sources: of each sample.
        uids: of each sample, its question's.
        infos: name -> what the reward says of each sample: `reward`, the score, and its parts; None where a sample has
            no such part.

    Returns:
        The mean over questions of the mean score of each one's samples, and its standard error clustered by question
        (left out for a single question); the unbiased pass@k for powers of two up to the samples that every question
        has, where scores are 0 or 1; and how many samples the verifier came to no verdict on, by its reason: they are
        left out of the rest.
    """
    metrics: dict[str, float] = {}
    for source in dict.fromkeys(map(str, data_sources)):
        places = [place for place, other in enumerate(data_sources) if str(other) == source]
        metrics |= {f"val/{source}/{name}": value for name, value in _of_source(source, places, uids, infos).items()}
    return metrics


def _of_source(
    source: str, places: Sequence[int], uids: Sequence[str], infos: Mapping[str, Sequence[Any]]
) -> dict[str, float]:
    failed = {
        reason: [place for place in places if infos[reason][place]] for reason in _reasons(source) if reason in infos
    }
    metrics = {f"failed/{reason}": float(len(found)) for reason, found in failed.items()}
    out = {place for found in failed.values() for place in found}
    sound = [place for place in places if place not in out]
    if not sound:
        return metrics
    _, question = np.unique([uids[place] for place in sound], return_inverse=True)
    scores = np.array([infos[REWARD][place] for place in sound], np.float64)
    counts = np.bincount(question)
    sums = np.bincount(question, scores)
    mean, error = mean_and_error(sums / counts)
    metrics["mean"] = mean
    if len(counts) > 1:
        metrics["standard_error"] = error
    if is_binary(scores):
        k = 2
        while k <= counts.min():
            metrics[f"pass@{k}"] = float(pass_at_k(counts, sums.round(), k).mean())
            k *= 2
    return metrics


def _reasons(source: str) -> tuple[str, ...]:
    """Return the names of the parts that say that there is no verdict; none for rows of no environment of ours."""
    try:
        return environment_of(source).undecided
    except ValueError:
        return ()
