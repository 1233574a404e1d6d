"""The reward function that veRL calls: the row's environment scores the episode's record.

`reward.custom_reward_function.path=pkg://wapo_verl.reward` (its `name` defaults to `compute_score`); other weights with
`+reward.custom_reward_function.reward_kwargs.weights.f1=0.5`, which replace the environment's own altogether. Nothing
here looks for an answer in the response's text, where tool results stand too. Left out: how a score is computed (the
environments'), and what happens to an exception (`wapo_verl.agent_loop.fail_fast` makes it stop the run).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from envs.environment import Environment
from envs.episode import Episode
from envs.registry import environment


class RewardError(ValueError):
    """A sample cannot be scored: wrong data_source, or no record of its episode."""


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    weights: Mapping[str, float] | None = None,
    **_: Any,
) -> dict[str, float]:
    """Score one finished episode.

    Args:
        data_source: name of the row's environment.
        solution_str: the whole response as text; read for single-turn environments only, where it is all the policy's.
        ground_truth: `reward_model.ground_truth` of the row. Arrays, which parquet readers may make of lists, are taken
            for lists.
        extra_info: the row's, with the agent loop's `extra_fields` merged in by veRL: `episode` is the record.
        weights: reward part -> weight, in place of the environment's; a part not named weighs 0.

    Returns:
        `score` and every reward part of the environment, the same keys for each of its samples.

    Raises:
        RewardError: for an unknown data_source, or a search environment's sample without an episode.
        ValueError: for a weight that names no part, or a record that is no episode.
    """
    environment_ = _environment(data_source)
    episode = _episode(environment_, solution_str, (extra_info or {}).get("episode"))
    score = environment_.score(episode, _plain(ground_truth), _numbers(weights))
    return {name: float(value) for name, value in score.items()}


def _environment(data_source: str) -> Environment:
    try:
        return environment(str(data_source))
    except ValueError as error:
        raise RewardError(
            f"wapo_verl.reward cannot score rows with data_source={str(data_source)!r}: {error} "
            "(`wapo-verl prepare` writes rows with the right name)"
        ) from error


def _episode(environment_: Environment, solution_str: str, record: Any) -> Episode:
    if record is not None:
        return Episode.from_record(_plain(record))
    if environment_.agent_name == "search_agent":
        raise RewardError(
            f"a row of {environment_.name!r} came without the record of its episode: "
            "the loop search_agent must play it, so its agent_name must be 'search_agent'"
        )
    return Episode(answer=None, completion=solution_str)


def _numbers(weights: Mapping[str, Any] | None) -> dict[str, float] | None:
    return None if weights is None else {str(name): float(weight) for name, weight in weights.items()}


def _plain(value: Any) -> Any:
    """`value` with arrays as lists and array scalars as Python's, at any depth."""
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
