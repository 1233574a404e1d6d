"""One line of a file of samples: what `wapo-verl eval` writes, and the part of it that statistics read.

docs/evaluation.md describes every key. Names are veRL's where veRL has one (`data_source`, `output`, `response_mask`,
`rollout_log_probs`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import orjson

SAMPLES_FILE = "samples.jsonl"
"""The samples' file in an evaluation's folder."""

VERSION = 1
"""Of the format. A reader refuses any other."""

SIZES = ("turns", "searches", "tokens")


class Line(msgspec.Struct, gc=False):
    """The part of a line that statistics read; a decoder passes over the rest without building it.

    Attributes:
        version: of the format.
        data_source: the environment's name.
        question_id: unique within the data source.
        row: `row_hash` of the question.
        sample: the sample's number within its question, from 0.
        scores: `score` and every reward part; None where the sample failed before it was scored.
        failure: why the sample says nothing about the model, such as "retriever"; None for a sound one.
        vote: the number of the first sample of the question with the same answer; None for no answer.
        turns: assistant turns.
        searches: searches that were carried out.
        tokens: tokens the policy wrote.
    """

    version: int
    data_source: str
    question_id: str
    row: str
    sample: int
    scores: dict[str, float] | None
    failure: str | None
    vote: int | None
    turns: int
    searches: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Sample:
    """Everything that is kept of one sample; `Line` says what the first ten are.

    Attributes:
        failure_message: what went wrong, in the words of the error.
        finish_reason: how it ended: an outcome of `wapo_verl.environments.episode`, or the engine's own word.
        answer: what the policy gave as its answer; None for no answer.
        seed: of the sampling.
        output: the response as the verifier reads it: text without special tokens.
        prompt_ids: token ids of the prompt.
        response_ids: token ids of the response, the environment's tokens among them.
        response_mask: 1 for a token of the policy, 0 for one of the environment.
        rollout_log_probs: the engine's log-probs of the response's tokens; None where they were not kept.
        episode: the episode's record; None where the agent loop writes none.
        started: when the sample was asked for, in seconds since 1970.
        finished: when it was scored.
    """

    data_source: str
    question_id: str
    row: str
    sample: int
    scores: Mapping[str, float] | None
    failure: str | None
    vote: int | None
    turns: int
    searches: int
    tokens: int
    failure_message: str | None = None
    finish_reason: str | None = None
    answer: str | None = None
    seed: int | None = None
    output: str = ""
    prompt_ids: list[int] | None = None
    response_ids: list[int] | None = None
    response_mask: list[int] | None = None
    rollout_log_probs: list[float] | None = None
    episode: Mapping[str, Any] | None = None
    started: float | None = None
    finished: float | None = None

    def line(self) -> bytes:
        """Return the sample as a line, its end included."""
        return orjson.dumps({"version": VERSION, **asdict(self)}, option=orjson.OPT_APPEND_NEWLINE)


def row_hash(data_source: str, question: Any, ground_truth: Any) -> str:
    """Return 16 hexadecimal digits that two rows share if they ask the same and count the same as right."""
    text = orjson.dumps([data_source, question, ground_truth], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:16]
