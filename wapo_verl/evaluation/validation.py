"""The numbers of a validation in training, as an evaluation computes them, for the run's own log.

veRL's `best@N` draws with replacement and its means have no error; these stand beside them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wapo_verl.environments.registry import environment_of
from wapo_verl.evaluation.attempts import pass_at_k
from wapo_verl.evaluation.intervals import mean_and_error
from wapo_verl.evaluation.metrics import is_binary
from wapo_verl.rollout.failures import FAILURE

REWARD = "reward"
"""The name under which veRL lists the scores of a validation's samples."""


def validation_metrics(
    data_sources: Sequence[str], uids: Sequence[str], infos: Mapping[str, Sequence[Any]]
) -> dict[str, float]:
    """Return `val/SOURCE/mean`, `/standard_error`, `/pass@k` and `/failed/REASON` for each data source.

    Args:
        data_sources: of each sample.
        uids: of each sample, its question's.
        infos: name -> what the reward says of each sample: `reward`, the score, its parts, and `failure`, why the
            episode failed; None where a sample has no such part.

    Returns:
        The mean over questions of the mean score of each one's samples, and its standard error clustered by question
        (left out for a single question); the unbiased pass@k for powers of two up to the samples that every question
        has, where scores are 0 or 1; and how many samples failed or were not decided by the verifier, by the reason:
        they are left out of the rest.
    """
    metrics: dict[str, float] = {}
    failures = failures_of(data_sources, infos)
    for source in dict.fromkeys(map(str, data_sources)):
        places = [place for place, other in enumerate(data_sources) if str(other) == source]
        counts = Counter({reason: 0 for reason in _undecided(source) if reason in infos})
        counts.update(reason for place in places if (reason := failures[place]) is not None)
        metrics |= {f"val/{source}/failed/{reason}": float(count) for reason, count in counts.items()}
        sound = [place for place in places if failures[place] is None]
        metrics |= {f"val/{source}/{name}": value for name, value in _scored(sound, uids, infos[REWARD]).items()}
    return metrics


def _scored(places: Sequence[int], uids: Sequence[str], rewards: Sequence[Any]) -> dict[str, float]:
    """Return the numbers of the samples at these places; nothing where there are none."""
    if not places:
        return {}
    _, question = np.unique([uids[place] for place in places], return_inverse=True)
    scores = np.array([rewards[place] for place in places], np.float64)
    counts = np.bincount(question)
    sums = np.bincount(question, scores)
    mean, error = mean_and_error(sums / counts)
    metrics = {"mean": mean}
    if len(counts) > 1:
        metrics["standard_error"] = error
    if is_binary(scores):
        k = 2
        while k <= counts.min():
            metrics[f"pass@{k}"] = float(pass_at_k(counts, sums.round(), k).mean())
            k *= 2
    return metrics


def failures_of(data_sources: Sequence[str], infos: Mapping[str, Sequence[Any]]) -> list[str | None]:
    """Return why each sample says nothing about the policy; None for one that does.

    Args:
        data_sources: of each sample.
        infos: as `validation_metrics` takes it.
    """
    told = infos.get(FAILURE, [None] * len(data_sources))
    return [
        reason
        if isinstance(reason, str)
        else next((part for part in _undecided(str(source)) if part in infos and infos[part][place]), None)
        for place, (source, reason) in enumerate(zip(data_sources, told, strict=True))
    ]


def sound_samples(
    data_sources: Sequence[str],
    uids: Sequence[str],
    infos: Mapping[str, Sequence[Any]],
    turns: Sequence[Any],
    expected: Mapping[tuple[str, str], int] | None,
) -> tuple[list[str], list[str], dict[str, list[Any]], list[Any], dict[tuple[str, str], int] | None]:
    """Return what veRL computes a validation's metrics from, without the samples that failed.

    Args:
        data_sources: of each sample.
        uids: of each sample, its question's.
        infos: as `validation_metrics` takes it.
        turns: of each sample.
        expected: (data source, uid) -> the samples it was to have, of which veRL counts a missing one as wrong.
    """
    failures = failures_of(data_sources, infos)
    sound = [place for place, reason in enumerate(failures) if reason is None]

    def kept(values: Sequence[Any]) -> list[Any]:
        return [values[place] for place in sound]

    if expected is not None:
        failed = Counter(
            (str(source), str(uid))
            for source, uid, reason in zip(data_sources, uids, failures, strict=True)
            if reason is not None
        )
        expected = {question: count - failed[question] for question, count in expected.items()}
        expected = {question: count for question, count in expected.items() if count}
    return kept(data_sources), kept(uids), {name: kept(values) for name, values in infos.items()}, kept(turns), expected


def _undecided(source: str) -> tuple[str, ...]:
    """Return the names of the parts that say that there is no verdict; none for rows of no environment of ours."""
    try:
        return environment_of(source).undecided
    except ValueError:
        return ()
