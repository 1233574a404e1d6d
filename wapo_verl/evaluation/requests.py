"""What is still to be asked: one JSON line a question, its row and the numbers of the samples that are missing.

`wapo-verl eval` writes them, veRL's trainer reads them as its rows, and the agent loops' worker takes from each what it
needs to write the samples: a row carries everything, so that nothing else need be configured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from wapo_verl.environments.registry import environment_of
from wapo_verl.evaluation.questions import Question
from wapo_verl.rollout.seeds import seed_of

REQUESTS_FILE = "requests.jsonl"
COLUMN = "evaluation"
"""The column of veRL's rows that holds a request's own keys."""


@dataclass(frozen=True, slots=True)
class Request:
    """One question and the samples that are missing of it.

    Attributes:
        question: the row.
        samples: their numbers.
        file: where the samples go, an absolute path.
        seed: of the evaluation.
        votes: answer -> label, of the samples that are there already.
    """

    question: Question
    samples: tuple[int, ...]
    file: str
    seed: int
    votes: Mapping[str, int] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """Return the columns that veRL's trainer and its agent loops read.

        The split is the environment's name, so that `wapo.search_agent.index` may name an index for each.
        """
        question = self.question
        split = environment_of(question.data_source).name
        return {
            "data_source": question.data_source,
            "raw_prompt": question.prompt,
            "reward_model": {"style": "rule", "ground_truth": question.ground_truth},
            "extra_info": {**question.extra_info, "split": split},
            "agent_name": question.agent_name,
            "index": question.extra_info.get("index", 0),
            "tools_kwargs": question.extra_info.get("tools_kwargs", {}),
            "interaction_kwargs": {},
            "__rollout_n__": len(self.samples),
            COLUMN: {
                "question_id": question.question_id,
                "row": question.row,
                "samples": list(self.samples),
                "file": self.file,
                "seed": self.seed,
                "votes": dict(self.votes),
            },
        }


def write_requests(requests: Iterable[Request], file: Path) -> None:
    """Write one line a request."""
    file.write_bytes(b"".join(orjson.dumps(request, option=orjson.OPT_APPEND_NEWLINE) for request in requests))


def read_requests(file: Path) -> list[Request]:
    """Read them back, in order."""
    lines = (orjson.loads(line) for line in file.read_bytes().splitlines())
    return [Request(**{**line, "question": Question(**line["question"])}) for line in lines]


def sample_seed(seed: int, data_source: str, question_id: str, sample: int) -> int:
    """Return a sample's seed: of its own place alone, so that it does not hang on who is answered first."""
    return seed_of(seed, data_source, question_id, sample)
