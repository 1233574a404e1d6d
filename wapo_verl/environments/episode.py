"""What the verifier reads: the record of one finished episode.

The agent loop writes it, veRL carries it in ``extra_info["episode"]`` as plain JSON types, the environment scores it.
It holds what the policy said and what was retrieved, as data; nobody searches the screen's text for an answer again.
Token ids, masks and log-probs are left out: they belong to the agent loop's output, not to the verifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

ANSWERED = "answered"
OUTCOMES = (
    ANSWERED,
    "no_tag",
    "two_tags",
    "nested_tags",
    "empty_query",
    "empty_answer",
    "bad_call",
    "turn_truncated",
    "context_full",
    "turn_limit",
)
TRUNCATED_OUTCOMES = frozenset({"turn_truncated", "context_full"})
"""The outcomes of an episode that a limit of tokens has cut off."""
FAILED = "failed"
"""The outcome of an episode that could not be played to its end; it says nothing about the policy."""


_NOT_KNOWING = frozenset(
    {
        "cannot answer",
        "cannot be determined",
        "cannot determine",
        "do not know",
        "dont know",
        "i am not sure",
        "i cannot answer",
        "i do not know",
        "i dont know",
        "idk",
        "im not sure",
        "insufficient information",
        "no answer",
        "no answer found",
        "no information",
        "noanswer",
        "not enough information",
        "not found",
        "not known",
        "not sure",
        "unanswerable",
        "unknown",
        "unsure",
    }
)


def says_nothing(answer: str | None) -> bool:
    """Tell whether an answer gives none: it is missing, has no letter or digit, or says that it does not know.

    That is the whole answer, letter case, punctuation and spaces apart ("I don't know."): a phrase within a longer
    answer is part of it. For metrics: what an answer earns does not depend on this.
    """
    letters = "".join(c for c in (answer or "").lower() if c.isalnum() or c.isspace())
    phrase = " ".join(letters.split())
    return not phrase or phrase in _NOT_KNOWING


@dataclass(frozen=True, slots=True)
class Episode:
    """One finished episode.

    Attributes:
        answer: what the policy gave as its answer, or None (single-turn environments may read ``completion`` instead).
        queries: the search queries, in order.
        document_ids: for each query the ids of the documents that came back, best first.
        turns: number of assistant turns.
        outcome: one of ``OUTCOMES``; every one but "answered" ended the episode without an answer.
        completion: the policy's own text, without any retrieved passage (single-turn environments).
        tool_errors: turns whose malformed call was answered with an error.
        repaired_calls: turns whose malformed call was repaired and carried out.
        well_formed_turns: turns that are exactly a thought and then one action
            (`wapo_verl.environments.protocol.is_well_formed`); 0 in records of older versions.
        failure: why it says nothing about the policy (``wapo_verl.environments.failures``); None where it does.

    Raises:
        ValueError: for an unknown outcome, ``FAILED`` without a failure, or an answer beside an outcome other than
            "answered".
    """

    answer: str | None
    queries: tuple[str, ...] = ()
    document_ids: tuple[tuple[str, ...], ...] = ()
    turns: int = 1
    outcome: str = ANSWERED
    completion: str = ""
    tool_errors: int = 0
    repaired_calls: int = 0
    well_formed_turns: int = 0
    failure: str | None = None

    def __post_init__(self) -> None:
        if self.outcome == FAILED and self.failure is None:
            raise ValueError(f"an episode that ended as {FAILED!r} says why: set failure")
        if self.outcome not in (*OUTCOMES, FAILED):
            raise ValueError(f"episode outcome {self.outcome!r} is unknown; use one of {', '.join(OUTCOMES)}")
        if self.outcome != ANSWERED and self.answer is not None:
            raise ValueError(f"an episode that ended as {self.outcome!r} has no answer; set answer to None")

    @property
    def answered(self) -> bool:
        """Whether the episode ended in a well-formed answer."""
        return self.outcome == ANSWERED

    def to_record(self) -> dict[str, Any]:
        """Return the episode as plain JSON types (tuples become lists)."""
        record = asdict(self)
        record["queries"] = list(self.queries)
        record["document_ids"] = [list(ids) for ids in self.document_ids]
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Episode:
        """Return the episode of a record of ``to_record``; any iterables (lists, arrays) stand for the tuples.

        Raises:
            ValueError: when ``answer`` is missing or a key is unknown, naming it.
        """
        unknown = sorted(set(record) - {field.name for field in fields(cls)})
        if unknown or "answer" not in record:
            problem = f"unknown key {unknown[0]!r}" if unknown else "no key 'answer'"
            raise ValueError(f"episode record has {problem}; write records with Episode.to_record")
        values = dict(record)
        if "queries" in values:
            values["queries"] = tuple(values["queries"])
        if "document_ids" in values:
            values["document_ids"] = tuple(tuple(ids) for ids in values["document_ids"])
        return cls(**values)
