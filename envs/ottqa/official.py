"""Compute OTT-QA's official numbers for a file of predictions, in percent.

They are those of `evaluate_script.py` of wenhuchen/OTT-QA. The total is over all questions of the reference: one
without a prediction counts 0. The reference may list questions whose answer stands in a table or in a passage; their
numbers are means over those that were predicted.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wapo_verl.environments.official import FileScores, read_json, text_of, unknown_ids
from wapo_verl.environments.qa_metrics import exact_match, ottqa_f1

PLACES = ("table", "passage")


def score_files(predictions: Path, reference: Path) -> FileScores:
    """Score a file of predictions; of two predictions for one question the later counts.

    Args:
        predictions: JSON of the form `[{"question_id": id, "pred": answer}, ..]`.
        reference: JSON of the form `{"reference": {id: answer}, "table": [id], "passage": [id]}`; `table` and `passage`
            are optional.

    Returns:
        `total exact` and `total f1` in percent, and `total`, the number of questions; `table exact` and so on where the
        reference lists such questions and one of them was predicted (without one, upstream's script fails). Notes count
        missing and unknown ids; an unknown id does not change the numbers (upstream's script fails).

    Raises:
        ValueError: for a file of another form, naming file and id, or a reference without a question.
        OSError: when a file cannot be read.
    """
    golds, places = _read_reference(reference)
    exact: dict[str, float] = {}
    f1: dict[str, float] = {}
    predicted = _read_predictions(predictions)
    for id_ in golds.keys() & predicted:
        exact[id_] = exact_match(predicted[id_], golds[id_])
        f1[id_] = ottqa_f1(predicted[id_], golds[id_])
    metrics: dict[str, float] = {}
    for place, ids in places.items():
        scored = exact.keys() & ids
        if scored:
            metrics[f"{place} exact"] = 100.0 * sum(exact[id_] for id_ in scored) / len(scored)
            metrics[f"{place} f1"] = 100.0 * sum(f1[id_] for id_ in scored) / len(scored)
    metrics["total exact"] = 100.0 * sum(exact.values()) / len(golds)
    metrics["total f1"] = 100.0 * sum(f1.values()) / len(golds)
    metrics["total"] = float(len(golds))
    missing = len(golds) - len(exact)
    notes = {"missing question": missing} if missing else {}
    return FileScores(metrics, notes | unknown_ids(predicted, golds))


def _read_reference(file: Path) -> tuple[dict[str, str], dict[str, set[str]]]:
    value = read_json(file)
    golds = value.get("reference") if isinstance(value, dict) else None
    if not isinstance(golds, dict) or not golds:
        raise ValueError(f'{file} must hold {{"reference": {{question id: answer}}}} with at least one question')
    texts = {id_: text_of(answer, f"the answer of {id_!r}", file) for id_, answer in golds.items()}
    return texts, {place: set(value[place]) for place in PLACES if _listed(value, place, file)}


def _listed(value: Mapping[str, Any], place: str, file: Path) -> bool:
    ids = value.get(place)
    if ids is not None and not (isinstance(ids, list) and all(isinstance(id_, str) for id_ in ids)):
        raise ValueError(f"{place!r} in {file} must be a list of question ids")
    return ids is not None


def _read_predictions(file: Path) -> dict[str, str]:
    value = read_json(file)
    if not isinstance(value, list) or not all(isinstance(item, dict) and "question_id" in item for item in value):
        raise ValueError(f'{file} must hold a list of {{"question_id": id, "pred": answer}}')
    return {
        str(item["question_id"]): text_of(item.get("pred"), f"pred of {item['question_id']!r}", file) for item in value
    }
