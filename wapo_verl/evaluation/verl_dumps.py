"""Reads what veRL dumps of rollouts and validations: one JSON line a sample, `STEP.jsonl`.

A dump says no row's id: rows with the same prompt and ground truth are one question. veRL's own dumps hold the text
alone; those of this project's trainer the episode's record and the data source as well. Where that is missing, the
environment, which tells which answers are the same, is the caller's to name.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from wapo_verl.data.episode_record import KEYS, WRITTEN_BY_VERL, group_of
from wapo_verl.environments.environment import Environment
from wapo_verl.environments.episode import Episode
from wapo_verl.environments.registry import environment_of
from wapo_verl.evaluation.answers import Ballot
from wapo_verl.evaluation.records import VERSION, Line, row_hash
from wapo_verl.evaluation.samples import SCORE, SampleColumns, Samples
from wapo_verl.rollout.failures import FAILURE

NO_PARTS = frozenset({*WRITTEN_BY_VERL, *KEYS, "reward"}) - {SCORE}
"""Keys of a dump's line that hold no part of the reward; veRL writes the score twice, as `score` and `reward`."""


@dataclass(frozen=True)
class Dumped:
    """One line of a dump.

    Attributes:
        number: of the line in the file, from 1.
        values: the line's object.
    """

    number: int
    values: Mapping[str, Any]

    @cached_property
    def question(self) -> str:
        """What tells the line's question from others."""
        return row_hash("", self.values["input"], self.values.get("gts"))

    @property
    def failure(self) -> str | None:
        """Why the sample says nothing about the policy, as this project's trainer writes it; None where it does."""
        reason = self.values.get(FAILURE)
        return reason if isinstance(reason, str) else None

    @property
    def group(self) -> str:
        """The prompt that was sampled from: in training, the group that shares its advantage's mean."""
        return group_of(str(self.values.get("uid", self.question)))

    @property
    def data_source(self) -> str:
        """The row's data source; "" where the dump does not say it."""
        return str(self.values.get("environment") or "")

    @property
    def record(self) -> Mapping[str, Any] | None:
        """The episode's record; None where the dump has none, or a reward's own value of that name."""
        record = self.values.get("episode")
        is_record = isinstance(record, dict) and isinstance(record.get("queries"), list) and "turns" in record
        return record if is_record else None

    @property
    def text(self) -> str:
        """What the verifier read of a completion without an episode's record."""
        return str(self.values.get("completion") or self.values["output"])

    def episode(self, environment: Environment) -> Episode | None:
        """Return the episode; None where the dump does not hold what the environment scores."""
        if self.record is not None:
            return Episode.from_record(self.record)
        if environment.agent_name == "single_turn_agent":
            return Episode(answer=None, completion=self.text)
        return None


def is_dump(values: Mapping[str, Any]) -> bool:
    """Tell whether a line's object is one of a dump's."""
    return {"input", "output", SCORE} <= set(values)


def dumped_lines(file: Path) -> list[Dumped]:
    """Read a dump: of the outputs of one session the last, and no line that was cut off.

    Raises:
        ValueError: for a line that is no JSON or not one of a dump's; the sentence names the line.
        OSError: when it cannot be read.
    """
    last: dict[object, Dumped] = {}
    for dumped in _every_line(file):
        uid = dumped.values.get("uid")
        session = str(uid).rsplit("_", 1)[0] if str(uid).count("_") >= 2 else dumped.number
        last[session] = dumped
    return sorted(last.values(), key=lambda dumped: dumped.number)


def _every_line(file: Path) -> Iterator[Dumped]:
    *lines, _ = file.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            values = msgspec.json.decode(line)
        except (msgspec.MsgspecError, RecursionError):  # it takes no NaN, which Python's json writes
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"line {number} is no JSON ({error}); take the line out") from error
        if not isinstance(values, dict) or not is_dump(values):
            raise ValueError(f"line {number} is not one of a dump, whose lines have input, output and score")
        yield Dumped(number, values)


def read_dump(file: Path, environment: str | None = None) -> tuple[dict[str, Samples], list[str]]:
    """Return the samples of a dump by data source, and sentences about what was left out.

    Args:
        file: the dump.
        environment: the environment whose rows these are, where the dump does not say it.

    Raises:
        ValueError: for a damaged line, a score that is no number, or an unknown environment.
        OSError: when it cannot be read.
    """
    lines = dumped_lines(file)
    if not lines:
        raise ValueError("it holds no whole sample")
    by_source: dict[str, list[Dumped]] = {}
    for dumped in lines:
        by_source.setdefault(environment or dumped.data_source, []).append(dumped)
    if environment is not None:
        environment_of(environment)  # which says what is wrong with a name that the user gave
    cut = not file.read_bytes().endswith(b"\n")
    return (
        {source: _samples(source, by_source[source]) for source in sorted(by_source)},
        [f"{file}: its last line is cut off and was left out"] if cut else [],
    )


def _samples(source: str, lines: Sequence[Dumped]) -> Samples:
    """Return the samples of the lines of one data source."""
    parts, numbers = _parts(lines), _sample_numbers(lines)
    votes = _votes(lines, numbers, source)
    episodes = [dumped.record for dumped in lines]
    columns = SampleColumns(source)
    columns.add(
        [
            Line(
                version=VERSION,
                data_source=source,
                question_id=dumped.question,
                row=dumped.question,
                sample=sample,
                scores=None if dumped.failure else {name: _number(dumped, name) for name in parts},
                failure=dumped.failure,
                vote=votes[place] if votes else None,
                turns=episode["turns"] if episode else 0,
                searches=len(episode["queries"]) if episode else 0,
                tokens=0,
            )
            for place, (dumped, sample, episode) in enumerate(zip(lines, numbers, episodes, strict=True))
        ],
        np.array([dumped.number for dumped in lines]),
    )
    return columns.samples(known_sizes=("turns", "searches") if all(episodes) else (), votes_known=votes is not None)


def _parts(lines: Sequence[Dumped]) -> list[str]:
    """Return the scores that every sound line has, by name; rows of several environments share no more than those."""
    sound = [dumped.values for dumped in lines if dumped.failure is None]
    names = [name for name in sound[0] if name not in NO_PARTS] if sound else []
    return [name for name in names if all(isinstance(values.get(name), int | float) for values in sound)]


def _number(dumped: Dumped, name: str) -> float:
    value = float(dumped.values[name])
    if not isfinite(value):
        raise ValueError(
            f"line {dumped.number}: the score {name!r} is {value}; score it again with `wapo-verl rescore`"
        )
    return value


def _sample_numbers(lines: Sequence[Dumped]) -> list[int]:
    """Return for each line how many lines of the same question stand before it."""
    seen: Counter[str] = Counter()
    numbers = []
    for dumped in lines:
        numbers.append(seen[dumped.question])
        seen[dumped.question] += 1
    return numbers


def _votes(lines: Sequence[Dumped], numbers: Sequence[int], source: str) -> list[int | None] | None:
    """Return the labels of the lines' answers; None where a line does not hold what the environment scores.

    So it is with rows of no environment of ours, of which nobody knows what an answer is.
    """
    try:
        environment = environment_of(source)
    except ValueError:
        return None
    ballots: dict[str, Ballot] = {}
    votes: list[int | None] = []
    for dumped, number in zip(lines, numbers, strict=True):
        episode, truth = dumped.episode(environment), dumped.values.get("gts")
        if episode is None:
            return None
        if dumped.failure:
            votes.append(None)
            continue
        with rows_of(source, dumped.number):
            ballot = ballots.setdefault(dumped.question, Ballot(environment, truth))
            votes.append(ballot.vote(environment.given_answer(episode, truth), number))
    return votes


@contextmanager
def rows_of(source: str, line: int) -> Iterator[None]:
    """Say in one sentence that an environment cannot read a line's row: another one's row lacks what it reads."""
    try:
        yield
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"line {line} cannot be read as a row of {source} ({error!r}): name the environment that it is of"
        ) from error
