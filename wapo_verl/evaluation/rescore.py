"""Scores recorded episodes again, after a verifier or its weights changed, and tells what that would have changed.

The reward that training calls (`wapo_verl.reward`) is called on what was recorded.
"""

from __future__ import annotations

import math
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from wapo_verl.environments.episode import Episode
from wapo_verl.environments.failures import failure_of
from wapo_verl.environments.registry import environment_of
from wapo_verl.evaluation.answers import Ballot
from wapo_verl.evaluation.manifest import MANIFEST_FILE
from wapo_verl.evaluation.questions import QUESTIONS_FILE
from wapo_verl.evaluation.recorded import Recorded, recorded_samples
from wapo_verl.evaluation.samples import SCORE
from wapo_verl.evaluation.verl_dumps import rows_of
from wapo_verl.reward import compute_score

ROUNDING = 1e-6
"""Scores no further apart are the same: veRL keeps rewards in float32."""

_AT_ONCE, _THREADS = 512, 4


@dataclass(frozen=True, slots=True)
class Moved:
    """A sample whose score or reward parts moved: those before and after."""

    number: int
    question: str
    sample: int
    before: Mapping[str, float]
    after: Mapping[str, float]


@dataclass(slots=True)
class PartChange:
    """How a score moved over the samples that have it before and after."""

    samples: int = 0
    raised: int = 0
    lowered: int = 0
    sum_before: float = 0.0
    sum_after: float = 0.0

    def add(self, before: float, after: float) -> None:
        """Count one sample."""
        self.samples += 1
        self.raised += after > before + ROUNDING
        self.lowered += after < before - ROUNDING
        self.sum_before += before
        self.sum_after += after


@dataclass(slots=True)
class Rescoring:
    """What scoring again changes.

    Attributes:
        parts: score or reward part -> how it moved.
        moved: the samples with one that moved.
        not_scored: samples that failed before there was an episode to score.
        groups: group -> its samples' scores before and after, of those that have both.
    """

    parts: dict[str, PartChange] = field(default_factory=dict)
    moved: list[Moved] = field(default_factory=list)
    not_scored: int = 0
    groups: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, recorded: Recorded, after: Mapping[str, float] | None) -> None:
        """Take in one sample and what it scores now; None where it cannot be scored."""
        if after is None:
            self.not_scored += 1
            return
        before = {name: score for name, score in recorded.scores.items() if not math.isnan(score)}
        shared = [name for name in after if name in before]
        for name in shared:
            self.parts.setdefault(name, PartChange()).add(before[name], after[name])
        if SCORE not in before or any(abs(before[name] - after[name]) > ROUNDING for name in shared):
            self.moved.append(Moved(recorded.number, recorded.question, recorded.sample, dict(before), dict(after)))
        if SCORE in before:
            self.groups[recorded.group].append((before[SCORE], after[SCORE]))

    def other_signs(self) -> dict[str, int]:
        """Return the groups in which an advantage would have another sign, and in how many of their samples.

        A sample's advantage is its score minus its group's mean; above, below and at the mean are three signs.
        """
        found = {}
        for group, scores in self.groups.items():
            signs = np.array(scores) - np.mean(scores, axis=0)
            signs = np.sign(np.where(np.abs(signs) <= ROUNDING, 0.0, signs))
            if changed := int((signs[:, 0] != signs[:, 1]).sum()):
                found[group] = changed
        return found


def rescore(
    file: Path, environment: str | None, weights: Mapping[str, float] | None = None, out: Path | None = None
) -> Rescoring:
    """Score a file's samples again, and write them with their new scores where `out` says so.

    Args:
        file: samples of `wapo-verl eval`, or a dump of veRL's.
        environment: the environment of a dump's rows.
        weights: reward part -> weight, in place of the environment's.
        out: a folder for the file under its own name, and for what stands beside samples of `wapo-verl eval`.

    Raises:
        ValueError: as `recorded_samples`; also where `out` is the file's own folder.
        OSError: when a file cannot be read or written.
    """
    found, writer = Rescoring(), LineWriter()
    scored = scored_again(recorded_samples(file, environment), weights)
    if out is None:
        for recorded, scores in scored:
            found.add(recorded, scores)
        return found
    if out.resolve() == file.parent.resolve():
        raise ValueError(f"{out} is the folder of {file.name}, which would be written over; name another one")
    out.mkdir(parents=True, exist_ok=True)
    unfinished = out / f".{file.name}.unfinished"
    with unfinished.open("wb") as stream:
        for recorded, scores in scored:
            found.add(recorded, scores)
            stream.write(writer.line(recorded, scores))
    for beside in (QUESTIONS_FILE, MANIFEST_FILE):
        if (file.parent / beside).is_file():
            shutil.copyfile(file.parent / beside, out / beside)
    unfinished.replace(out / file.name)
    return found


def scored_again(
    recorded: Iterable[Recorded], weights: Mapping[str, float] | None = None
) -> Iterator[tuple[Recorded, dict[str, float] | None]]:
    """Score samples again, in their order; None for one that failed before there was an episode.

    Args:
        recorded: the samples.
        weights: reward part -> weight, in place of the environment's.

    Raises:
        ValueError: where the reward refuses a sample; the sentence is the reward's.
    """

    def score(sample: Recorded) -> dict[str, float] | None:
        if not sample.played:
            return None
        extra = {} if sample.episode is None else {"episode": sample.episode}
        with rows_of(sample.data_source, sample.number):
            return compute_score(sample.data_source, sample.output, sample.ground_truth, extra, weights)

    left = iter(recorded)
    with ThreadPoolExecutor(_THREADS) as threads:  # a verifier's answer is waited for
        while chunk := list(islice(left, _AT_ONCE)):
            yield from zip(chunk, threads.map(score, chunk), strict=True)


class LineWriter:
    """Writes lines as they would stand in the file had they scored as they do now."""

    def __init__(self) -> None:
        self._ballots: dict[str, Ballot] = {}

    def line(self, recorded: Recorded, scores: Mapping[str, float] | None) -> bytes:
        """Return the line of a sample with its new scores; as it was where it has none."""
        values: dict[str, Any] = dict(recorded.values)
        if scores is not None and "version" in values:
            values |= self._evaluated(recorded, scores)
        elif scores is not None:
            values |= scores
        return orjson.dumps(values, option=orjson.OPT_APPEND_NEWLINE)

    def _evaluated(self, recorded: Recorded, scores: Mapping[str, float]) -> dict[str, Any]:
        """Return what changes with the scores: whether the sample failed, and which answers are the same."""
        environment, truth = environment_of(recorded.data_source), recorded.ground_truth
        record = recorded.episode or {"answer": None, "completion": recorded.output}
        answer = environment.given_answer(Episode.from_record(record), truth)
        ballot = self._ballots.setdefault(recorded.group, Ballot(environment, truth))
        return {
            "scores": dict(scores),
            "failure": failure_of(environment, scores),
            "failure_message": None,
            "answer": answer,
            "vote": ballot.vote(answer, recorded.sample),
        }
