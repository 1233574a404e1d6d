"""Files of samples as `wapo-verl eval` writes them, made of a table of scores; a folder that looks like a model's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wapo_verl.evaluation.records import Sample

Scores = Sequence[Sequence[float]]


def sample(question: int = 0, number: int = 0, score: float = 1.0, **values: Any) -> Sample:
    """Return a sample of the question `q0000` and so on."""
    given = {
        "data_source": "hotpotqa",
        "question_id": f"q{question:04d}",
        "row": f"row{question}",
        "sample": number,
        "scores": {"score": score, "f1": score / 2},
        "failure": None,
        "vote": 0 if score else number,
        "turns": 2,
        "searches": 1,
        "tokens": 10,
    }
    return Sample(**{**given, **values})


def write_samples(file: Path, scores: Scores, **values: Any) -> Path:
    """Write a question a row of scores, a sample a column; right answers are the same, wrong ones all differ."""
    rows = np.asarray(scores, float)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as stream:
        for question, row in enumerate(rows):
            first = int(row.argmax())
            for number, score in enumerate(row.tolist()):
                vote = first if score else number
                stream.write(sample(question, number, score, vote=vote, **values).line())
    return file


def model_folder(folder: Path, **config: object) -> Path:
    """Make a folder with what a model's has, and nothing that could be loaded."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder
