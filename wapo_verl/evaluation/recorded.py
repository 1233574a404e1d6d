"""Recorded episodes, ready to be scored again: from the samples of `wapo-verl eval` or a dump of veRL's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from wapo_verl.environments.episode import FAILED
from wapo_verl.environments.registry import environment_of
from wapo_verl.evaluation.questions import QUESTIONS_FILE, read_questions
from wapo_verl.evaluation.reading import first_value, refuse_environment, whole_lines
from wapo_verl.evaluation.verl_dumps import NO_PARTS, Dumped, dumped_lines, is_dump


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recorded sample.

    Attributes:
        number: of its line in the file, from 1.
        data_source: the environment's name.
        question: what it answers.
        sample: its number within the question; within the file where that does not say.
        group: the samples that share its advantage's mean.
        output: the response as the verifier read it.
        ground_truth: the row's.
        episode: the episode's record; None where there is none.
        scores: what it scored, by name; {} where it was not scored.
        values: the whole line.
    """

    number: int
    data_source: str
    question: str
    sample: int
    group: str
    output: str
    ground_truth: Any
    episode: Mapping[str, Any] | None
    scores: Mapping[str, float]
    values: dict[str, Any]

    @property
    def played(self) -> bool:
        """Whether there is an episode to score: a sample that failed before its end has none."""
        ended = self.episode is not None and self.episode.get("outcome") != FAILED
        return bool(self.scores) or ended


def recorded_samples(file: Path, environment: str | None) -> Iterator[Recorded]:
    """Read recorded samples one after the other.

    Args:
        file: samples of `wapo-verl eval`, with their questions beside them, or a dump of veRL's.
        environment: the environment of a dump's rows, where the dump does not say it.

    Raises:
        ValueError: for a damaged file, a dump whose environment nobody says, or one without the episodes that the
            environment's verifier reads; the sentence names file and line.
        OSError: when a file cannot be read.
    """
    if "version" in first_value(file):
        refuse_environment(file, environment)
        yield from _evaluated(file)
    elif not is_dump(first_value(file)):
        raise ValueError(f"{file} is neither of `wapo-verl eval` nor a dump of veRL's: line 1 has other keys")
    else:
        yield from _dumped(file, environment)


def _evaluated(file: Path) -> Iterator[Recorded]:
    beside = file.parent / QUESTIONS_FILE
    if not beside.is_file():
        raise ValueError(f"there is no {beside}, which holds the ground truths: give the folder as `eval` wrote it")
    truths = {(each.data_source, each.question_id): each.ground_truth for each in read_questions(beside)}
    number = 0
    for block in whole_lines(file):
        for line in bytes(block).split(b"\n")[:-1]:
            number += 1
            try:
                values = orjson.loads(line)
                key = (values["data_source"], values["question_id"])
                truth = truths[key]
            except (KeyError, TypeError, orjson.JSONDecodeError) as error:
                raise ValueError(f"{file}, line {number}, is no sample of {beside}'s questions ({error})") from error
            yield Recorded(
                number=number,
                data_source=key[0],
                question=key[1],
                sample=values["sample"],
                group="/".join(key),
                output=values["output"],
                ground_truth=truth,
                episode=values["episode"],
                scores=values["scores"] or {},
                values=values,
            )


def _dumped(file: Path, environment: str | None) -> Iterator[Recorded]:
    try:
        lines = dumped_lines(file)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    for dumped in lines:
        source = environment or dumped.data_source
        if not source:
            raise ValueError(f"{file} is a dump that does not say its environment: name it with --env")
        if dumped.episode(environment_of(source)) is None:
            raise ValueError(
                f"{file}, line {dumped.number}, holds no episode record, which the verifier of {source} reads; "
                "what `wapo-verl eval` writes holds one, and so do the training dumps of this project's trainer"
            )
        yield Recorded(
            number=dumped.number,
            data_source=source,
            question=dumped.question,
            sample=dumped.number,
            group=dumped.group,
            output=dumped.text,
            ground_truth=dumped.values.get("gts"),
            episode=dumped.record,
            scores=_scores(dumped),
            values=dict(dumped.values),
        )


def _scores(dumped: Dumped) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in dumped.values.items()
        if name not in NO_PARTS and isinstance(value, int | float)
    }
