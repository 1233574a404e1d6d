"""The reward function that veRL calls: the row's environment scores the episode's record.

`reward.custom_reward_function.path=pkg://wapo_verl.reward` (its `name` defaults to `compute_score`); other weights with
`+reward.custom_reward_function.reward_kwargs.weights.f1=0.5`, which replace the environment's own altogether, or with
`...weights.ottqa.table_recall=0.2` those of one environment, where a run mixes several, or those that an environment
has a name for, with `...weights=published`. The mathematics verifier's
limits are `+...reward_kwargs.verifier.seconds=5`, `workers` and `megabytes`. Nothing here looks for an answer in the
response's text, where tool results stand too. An exception stops the run (`wapo_verl.rollout.fail_fast`).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from wapo_verl.environments.environment import Environment
from wapo_verl.environments.episode import Episode
from wapo_verl.environments.math.workers import WorkerLimits, pool
from wapo_verl.environments.registry import environment_of, names


class RewardError(ValueError):
    """A sample cannot be scored: wrong data_source, weights for no environment, or no record of its episode."""


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    weights: Mapping[str, Any] | str | None = None,
    verifier: Mapping[str, float] | None = None,
    **_: Any,
) -> dict[str, float]:
    """Score one finished episode.

    Args:
        data_source: name of the row's environment.
        solution_str: the whole response as text; read for single-turn environments only, where it is all the policy's.
        ground_truth: `reward_model.ground_truth` of the row. Arrays, which parquet readers may make of lists, are taken
            for lists.
        extra_info: the row's, with the agent loop's `extra_fields` merged in by veRL: `episode` is the record.
        weights: reward part -> weight, in place of the environment's; a part not named weighs 0. A name of an
            environment -> such a mapping is for its rows alone, and wins there over the rest. A text is a name in the
            environment's `named_weights`.
        verifier: limits of the mathematics verifier's processes (`wapo_verl.environments.math.workers.WorkerLimits`),
            by name.

    Returns:
        `score` and every reward part of the environment, the same keys for each of its samples.

    Raises:
        RewardError: for an unknown data_source, or a search environment's sample without an episode.
        ValueError: for a weight that names no part, an unknown limit, or a record that is no episode.
        WorkerError: when the mathematics verifier's processes cannot be started.
    """
    if verifier is not None:
        pool(WorkerLimits.of(verifier))
    environment_ = _environment(data_source)
    episode = _episode(environment_, solution_str, (extra_info or {}).get("episode"))
    score = environment_.score(episode, _plain(ground_truth), weights_for(environment_, weights))
    return {name: float(value) for name, value in score.items()}


def _environment(data_source: str) -> Environment:
    try:
        return environment_of(str(data_source))
    except ValueError as error:
        raise RewardError(
            f"wapo_verl.reward cannot score rows with data_source={str(data_source)!r}: {error} "
            "(`wapo-verl prepare` writes rows with the right name)"
        ) from error


def _episode(environment_: Environment, solution_str: str, record: Any) -> Episode:
    if record is not None:
        return Episode.from_record(_plain(record))
    if environment_.agent_name != "single_turn_agent":
        loops = " or ".join((environment_.agent_name, *environment_.other_agents))
        raise RewardError(
            f"a row of {environment_.name!r} came without the record of its episode: its agent_name must be {loops} "
            "(`wapo-verl prepare` writes it)"
        )
    return Episode(answer=None, completion=solution_str)


def weights_for(environment_: Environment, weights: Mapping[str, Any] | str | None) -> Mapping[str, float] | None:
    """Return the weights for rows of an environment; None where nothing was given for them.

    Raises:
        RewardError: for the name of no environment, or of no weights that this one has.
    """
    name = environment_.name
    if weights is None:
        return None
    if isinstance(weights, str):
        if weights not in environment_.named_weights:
            known = ", ".join(environment_.named_weights) or "none"
            raise RewardError(f"{name!r} has no reward weights called {weights!r}; it has {known}")
        return environment_.named_weights[weights]
    unknown = [key for key, weight in weights.items() if isinstance(weight, Mapping) and key not in names()]
    if unknown:
        raise RewardError(f"reward weights are given for {unknown[0]!r}, but the environments are {', '.join(names())}")
    general = {part: weight for part, weight in weights.items() if not isinstance(weight, Mapping)}
    if isinstance(weights.get(name), Mapping):
        chosen: Mapping[str, Any] = weights[name]
    elif general or not weights:
        chosen = general
    else:
        return None
    return {str(part): float(weight) for part, weight in chosen.items()}


def _plain(value: Any) -> Any:
    """Return `value` with arrays as lists and array scalars as Python's, at any depth."""
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
