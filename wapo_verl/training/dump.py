"""Lay out the training dump: one JSON line for each completion, with its episode's record and its reward's parts."""

from collections.abc import Sequence
from typing import Any

from wapo_verl.training.advantages import episode_of


def dump_columns(keys: Sequence[str], extra_fields: Sequence[Any]) -> dict[str, list[Any]]:
    """Return the columns beside prompt, response, ground truth and score.

    Args:
        keys: each row's key.
        extra_fields: what the agent loop stored of each row.

    Returns:
        `uid`, the key; `episode`, the record or None; and everything that the reward function returned beside the
        score, whatever its type, None where a row has no such part.
    """
    parts = [_reward_extras(extra) for extra in extra_fields]
    names = sorted({name for part in parts for name in part} - {"score"})
    return {
        "uid": list(keys),
        "episode": [episode_of(extra) for extra in extra_fields],
        **{name: [part.get(name) for part in parts] for name in names},
    }


def _reward_extras(extra_fields: Any) -> dict[str, Any]:
    return extra_fields.get("reward_extra_info") or {} if isinstance(extra_fields, dict) else {}
