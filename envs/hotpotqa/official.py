"""Compute HotpotQA's official numbers for a file of predictions: answer, supporting facts, and both together.

They are those of `hotpot_evaluate_v1.py` of hotpotqa/hotpot: sums over the reference's questions, divided by their
number, so that a question without a prediction counts 0. Joint precision and recall are products of the answer's and
the facts', and joint F1 is that of these two. Joint numbers count only where answer and facts were both predicted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from wapo_verl.environments.official import FileScores, read_json, text_of, unknown_ids
from wapo_verl.environments.qa_metrics import Overlap, exact_match, hotpotqa_overlap
from wapo_verl.environments.raw_rows import read_rows

from .rows import supporting_facts

KINDS = ("em", "f1", "prec", "recall")
METRICS = tuple(part + kind for part in ("", "sp_", "joint_") for kind in KINDS)


def score_files(predictions: Path, reference: Path) -> FileScores:
    """Score a file of predictions.

    Args:
        predictions: JSON of the form `{"answer": {id: text}, "sp": {id: [[title, sentence], ..]}}`.
        reference: the questions with answers, in the official schema or the hub's.

    Returns:
        `em`, `f1`, `prec` and `recall` of the answers, the same with `sp_` of the supporting facts and with `joint_` of
        both, each in [0, 1]. Notes count missing and unknown ids; an unknown id does not change the numbers.

    Raises:
        ValueError: for a file of another form, naming file and id, or a reference without a question.
        OSError: when a file cannot be read.
    """
    answers, facts = _read(predictions)
    sums, notes = dict.fromkeys(METRICS, 0.0), Counter[str]()
    ids = []
    for raw in read_rows(reference):
        id_ = raw.text("_id", "id")
        found = _one(id_, answers, facts, _gold_answer(raw), supporting_facts(raw), predictions)
        for name, value in found.items():
            sums[name] += value
        ids.append(id_)
        notes["missing answer"] += id_ not in answers
        notes["missing supporting facts"] += id_ not in facts
    if not ids:
        raise ValueError(f"{reference} holds no question; give upstream's file of questions with answers")
    notes += Counter(unknown_ids({**answers, **facts}, set(ids)))
    return FileScores({name: total / len(ids) for name, total in sums.items()}, notes)


def fact_scores(predicted: Collection[tuple[Any, ...]], gold: Collection[tuple[Any, ...]]) -> tuple[float, Overlap]:
    """Return exact match and overlap of two sets of supporting facts; two empty sets match exactly, with overlap 0."""
    predicted, gold = set(predicted), set(gold)
    shared = len(predicted & gold)
    precision = shared / len(predicted) if predicted else 0.0
    recall = shared / len(gold) if gold else 0.0
    return float(predicted == gold), _with_f1(precision, recall)


def _one(
    id_: str,
    answers: Mapping[str, Any],
    facts: Mapping[str, Any],
    gold_answer: str,
    gold_facts: Collection[tuple[Any, ...]],
    file: Path,
) -> dict[str, float]:
    """Return what one question adds to each sum."""
    found: dict[str, float] = {}
    if id_ in answers:
        answer = text_of(answers[id_], f"the answer of {id_!r}", file)
        match, overlap = exact_match(answer, gold_answer), hotpotqa_overlap(answer, gold_answer)
        found |= _named("", match, overlap)
    if id_ in facts:
        fact_match, fact_overlap = fact_scores(_facts(facts[id_], id_, file), gold_facts)
        found |= _named("sp_", fact_match, fact_overlap)
    if id_ in answers and id_ in facts:
        joint = _with_f1(overlap.precision * fact_overlap.precision, overlap.recall * fact_overlap.recall)
        found |= _named("joint_", match * fact_match, joint)
    return found


def _with_f1(precision: float, recall: float) -> Overlap:
    both = precision + recall
    return Overlap(2 * precision * recall / both if both > 0 else 0.0, precision, recall)


def _named(part: str, match: float, overlap: Overlap) -> dict[str, float]:
    values = (match, overlap.f1, overlap.precision, overlap.recall)
    return {part + kind: value for kind, value in zip(KINDS, values, strict=True)}


def _gold_answer(raw: Any) -> str:
    if "answer" not in raw.values:
        raise raw.error("answer", "is missing; the test questions are published without answers and cannot score")
    return text_of(raw.values["answer"], f"the answer of row {raw.index}", raw.file)


def _read(file: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    value = read_json(file)
    answers, facts = (value.get(name) if isinstance(value, dict) else None for name in ("answer", "sp"))
    if not isinstance(answers, dict) or not isinstance(facts, dict):
        raise ValueError(
            f'{file} must hold {{"answer": {{id: text}}, "sp": {{id: [[title, sentence number], ..]}}}}; '
            'an empty "sp" is allowed'
        )
    return answers, facts


def _facts(value: Any, id_: str, file: Path) -> set[tuple[Any, ...]]:
    pairs = isinstance(value, list) and all(isinstance(fact, list) and len(fact) == 2 for fact in value)
    if not pairs or any(isinstance(part, list | dict) for fact in value for part in fact):
        raise ValueError(
            f"the supporting facts of {id_!r} in {file} must be a list of [title, sentence number], not {value!r:.60}"
        )
    return {tuple(fact) for fact in value}
