"""The record of a completion: what training writes about each one, and what the viewer and `wapo-verl show` read.

A line of a dump (`trainer.rollout_data_dir`, one file a step) is veRL's own line with further keys, so tools that read
veRL's dumps read these as well. `docs/records.md` lists the keys. Every key beside `uid` and `score` may be missing:
dumps of veRL's own trainer and its validation dumps have few of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

SCHEMA = 1
"""The version of the keys below; it changes when a key changes its meaning."""

WRITTEN_BY_VERL = ("input", "output", "gts", "score", "step", "request_id", "uid")
"""The keys of veRL's own lines."""

KEYS = (
    *("schema", "episode", "completion", "turns", "tokens", "token_count", "advantage"),
    *("environment", "question_id", "failure", "failure_message"),
)
"""The keys that a record adds to veRL's."""


def group_of(uid: str) -> str:
    """Return the group of a completion: "{group}_{session}_{output}" is how veRL names completions."""
    parts = uid.rsplit("_", 2)
    return parts[0] if len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit() else uid


def group_key(line: Mapping[str, Any], place: int) -> str:
    """Return the name of a completion's group: veRL's, an evaluation's question, or the text of the prompt.

    Args:
        line: the completion's record.
        place: its place in its file, from 0.
    """
    if line.get("uid") is not None:
        return group_of(str(line["uid"]))
    if line.get("question_id") is not None:
        return str(line["question_id"])
    return str(line.get("input", f"line-{place}"))


def gold_documents(line: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the gold documents of a completion's question, and those of them that no search returned."""
    gold = [str(name) for name in as_list(as_mapping(line.get("gts")).get("document_ids"))]
    episode = as_mapping(line.get("episode"))
    if not episode:
        return gold, []
    returned = returned_documents(episode)
    return gold, [name for name in gold if name not in returned]


def returned_documents(episode: Mapping[str, Any]) -> set[str]:
    """Return the ids of all documents that an episode's searches returned."""
    return {str(name) for ids in as_list(episode.get("document_ids")) for name in as_list(ids)}


def segments(mask: Sequence[int]) -> Iterator[tuple[int, int, str]]:
    """Cut a response where its mask changes.

    Args:
        mask: (T,) 1 for a token that the policy wrote, 0 for one of the environment.

    Yields:
        Start, end and role ("assistant" or "environment") of each turn.
    """
    start = 0
    for place in range(1, len(mask) + 1):
        if place == len(mask) or mask[place] != mask[start]:
            yield start, place, "assistant" if mask[start] else "environment"
            start = place


def turns(ids: Sequence[int], mask: Sequence[int], decode: Any) -> list[dict[str, Any]]:
    """Return the turns of a response as text.

    Args:
        ids: (T,) token ids of the response.
        mask: (T,) as in `segments`.
        decode: makes text of a list of ids (a tokenizer's `decode`).

    Returns:
        For each turn its `role`, its `text`, and the `start` and `end` of its tokens.
    """
    return [
        {"role": role, "text": decode(list(ids[start:end])), "start": start, "end": end}
        for start, end, role in segments(mask)
    ]


def reward_parts(line: Mapping[str, Any]) -> dict[str, float]:
    """Return the named parts of a line's reward: `reward_parts`, or its further keys that hold numbers."""
    declared = line.get("reward_parts")
    if isinstance(declared, Mapping):
        return {str(name): float(value) for name, value in declared.items() if _is_number(value)}
    known = {*WRITTEN_BY_VERL, *KEYS, "reward"}
    return {
        name: float(value) for name, value in line.items() if name not in known and _is_number(value) and value == value
    }


def as_mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping as it is; an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def as_list(value: Any) -> list[Any]:
    """Return a list as it is; an empty one for anything else."""
    return value if isinstance(value, list) else []


def as_number(value: Any) -> float | None:
    """Return a number; None for anything else, and for what no float holds."""
    try:
        return float(value) if isinstance(value, int | float) else None
    except OverflowError:
        return None


def _is_number(value: Any) -> bool:
    """Tell whether a value is a number that a float can hold."""
    return isinstance(value, float) or (isinstance(value, int) and value.bit_length() < 1024)
