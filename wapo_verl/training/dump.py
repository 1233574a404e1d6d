"""Lay out the training dump: one JSON line for each completion, with its episode's record and its reward's parts."""

from collections.abc import Callable, Sequence
from typing import Any

from wapo_verl.training.advantages import episode_of


def dump_columns(
    keys: Sequence[str], extra_fields: Sequence[Any], data_sources: Sequence[Any], text: Callable[[int], str]
) -> dict[str, list[Any]]:
    """Return the columns beside prompt, response, ground truth and score.

    Args:
        keys: each row's key.
        extra_fields: what the agent loop stored of each row.
        data_sources: each row's.
        text: gives a row's response as the reward function reads it, by the row's place.

    Returns:
        `uid`, the key; `environment`, the data source; `episode`, the record or None; `completion`, what the reward
        function read of a row without one, so that it can be called again; and everything that it returned beside the
        score, whatever its type, None where a row has no such part.
    """
    episodes = [episode_of(extra) for extra in extra_fields]
    parts = [_reward_extras(extra) for extra in extra_fields]
    names = sorted({name for part in parts for name in part} - {"score"})
    return {
        "uid": list(keys),
        "environment": [str(source) for source in data_sources],
        "episode": episodes,
        "completion": [text(place) if episode is None else None for place, episode in enumerate(episodes)],
        **{name: [part.get(name) for part in parts] for name in names},
    }


def _reward_extras(extra_fields: Any) -> dict[str, Any]:
    return extra_fields.get("reward_extra_info") or {} if isinstance(extra_fields, dict) else {}
