"""The official scripts' numbers for an evaluation: upstream's files are written, and scored as upstream does."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import msgspec

from wapo_verl.environments.environment import Environment
from wapo_verl.environments.registry import environment_of
from wapo_verl.evaluation.questions import QUESTIONS_FILE, read_questions
from wapo_verl.evaluation.reading import whole_lines
from wapo_verl.evaluation.records import SAMPLES_FILE

FOLDER = "official"


class _Answered(msgspec.Struct, gc=False):
    data_source: str
    question_id: str
    sample: int
    answer: str | None


_DECODER = msgspec.json.Decoder(_Answered)


def official_scores(folder: Path) -> dict[str, dict[str, float]]:
    """Return upstream's numbers for each data source whose benchmark has a script, means over the sample numbers.

    The files that are scored stay in the folder's `official/`: a file of predictions for each sample number, to hand in
    as they are, and the reference. A question without an answer counts 0, as it does upstream; so does a failed sample.

    Args:
        folder: an evaluation's.

    Raises:
        ValueError: for a damaged file.
        OSError: when a file cannot be read or written.
    """
    golds: dict[str, dict[str, str]] = defaultdict(dict)
    for question in read_questions(folder / QUESTIONS_FILE):
        if environment_of(question.data_source).official_metrics:
            golds[question.data_source][question.question_id] = question.ground_truth["answers"][0]
    if not golds:
        return {}
    answers: dict[str, dict[int, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for block in whole_lines(folder / SAMPLES_FILE):
        for line in _DECODER.decode_lines(block):
            if line.data_source in golds:
                given = answers[line.data_source][line.sample]
                if line.answer is not None:
                    given[line.question_id] = line.answer
    (folder / FOLDER).mkdir(exist_ok=True)
    return {
        source: _means(environment_of(source), source, answers[source], golds[source], folder / FOLDER)
        for source in golds
    }


def _means(
    env: Environment, source: str, answers: dict[int, dict[str, str]], golds: dict[str, str], folder: Path
) -> dict[str, float]:
    reference = folder / f"{source}.reference.json"
    found: dict[str, list[float]] = defaultdict(list)
    for number, given in sorted(answers.items()):
        files = env.official_files(given, golds)
        assert files is not None, "an environment with official metrics writes upstream's files"
        predictions = folder / f"{source}.predictions.{number}.json"
        for file, value in zip((predictions, reference), files, strict=True):
            file.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
        scored = env.score_files(predictions, reference)
        for name in env.official_metrics:
            found[name].append(scored.metrics[name])
    return {name: sum(values) / len(values) for name, values in found.items()}
