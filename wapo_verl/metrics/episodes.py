"""What a batch of episodes looks like: how they ended, how long they were, how they searched, which rewards they got.

Pure functions on the records that the agent loop writes (`wapo_verl.environments.episode.Episode.to_record`) and on the
parts that the reward returns. Every key is there whenever there is an episode, so curves have no gaps.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from wapo_verl.environments.episode import ANSWERED, OUTCOMES, says_nothing
from wapo_verl.metrics.searches import search_attempt_metrics


def episode_metrics(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Metrics of a batch of episode records; empty for an empty batch.

    Returns:
        `episode/count`; `episode/outcome/<name>`, the share of episodes that ended so, for every outcome (they sum to
        1); `episode/answer_rate`, those that ended in a well-formed answer; `episode/abstention_rate`, those that ended
        without one, or with one that says that it does not know (`wapo_verl.environments.episode.says_nothing`);
        `episode/turns/mean` and `/max`; `episode/searches/mean` and `/max`, searches that were carried out;
        `episode/empty_searches`, the share of these that found nothing (0 where there are none);
        `episode/tool_errors/mean` and `episode/repaired_calls/mean`, malformed tool calls of an episode that were
        answered with an error, and that were repaired and carried out.
    """
    if not records:
        return {}
    count = len(records)
    ended = [record["outcome"] for record in records]
    turns = [int(record["turns"]) for record in records]
    searches = [len(record["queries"]) for record in records]
    empty = sum(1 for record in records for ids in record["document_ids"] if not len(ids))
    return {
        "episode/count": float(count),
        **{f"episode/outcome/{name}": ended.count(name) / count for name in OUTCOMES},
        "episode/answer_rate": ended.count(ANSWERED) / count,
        "episode/abstention_rate": sum(says_nothing(record["answer"]) for record in records) / count,
        "episode/turns/mean": sum(turns) / count,
        "episode/turns/max": float(max(turns)),
        "episode/searches/mean": sum(searches) / count,
        "episode/searches/max": float(max(searches)),
        "episode/empty_searches": empty / max(1, sum(searches)),
        "episode/tool_errors/mean": sum(record.get("tool_errors", 0) for record in records) / count,
        "episode/repaired_calls/mean": sum(record.get("repaired_calls", 0) for record in records) / count,
    }


def reward_part_metrics(scores: Iterable[Mapping[str, Any]], declared: bool = True) -> dict[str, float]:
    """Return `reward/<part>/mean` of what the reward function returned for each sample.

    A part is averaged over the samples that have it: rows of several environments may share a batch.

    Args:
        scores: what the reward function returned for each sample.
        declared: whether every number is a reward part that an environment declares. Else a number may be anything, a
            predicted answer for one, and only true and false, and veRL's own `score` and `acc`, are averaged.
    """
    values: dict[str, list[float]] = {}
    for score in scores:
        for part, value in score.items():
            if isinstance(value, bool | np.bool_) or (_is_number(value) and (declared or part in ("score", "acc"))):
                values.setdefault(part, []).append(float(value))
    return {f"reward/{part}/mean": sum(found) / len(found) for part, found in values.items()}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number)


def batch_metrics(extra_fields: Iterable[Mapping[str, Any]], declared: bool = True) -> dict[str, float]:
    """Return all of the above from a step's `extra_fields`; samples of other agent loops have no episode.

    Args:
        extra_fields: what the agent loop stored of each row.
        declared: as `reward_part_metrics` takes it.
    """
    fields = list(extra_fields)
    return {
        **episode_metrics([field["episode"] for field in fields if "episode" in field]),
        **search_attempt_metrics([field["search_attempts"] for field in fields if "search_attempts" in field]),
        **reward_part_metrics(
            (field["reward_extra_info"] for field in fields if "reward_extra_info" in field), declared
        ),
    }
