"""The settings of sampling that wastes less, read from a run's configuration and checked before anything is started.

`+wapo.settled_groups.*` is this project's own group; `algorithm.filter_groups.*` is veRL's, of which only the limit is
looked after here. Left out: what either does to the estimate (`effect`, `docs/sampling.md`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from wapo_verl.algorithms import Algorithm, Batch, Default
from wapo_verl.rollout import FAIL_FAST_MANAGER
from wapo_verl.settings.resolve import USER, ResolvedKey, SettingsError, algorithm_options, chosen_algorithm
from wapo_verl.training.winners_settings import why_not

GROUP = "wapo.settled_groups"
FILTER = "algorithm.filter_groups"
LIMIT = f"{FILTER}.max_num_gen_batches"
FILTER_DEFAULTS: Mapping[str, Default] = {LIMIT: 10}
"""What a run with veRL's group filter gets where the user says nothing: veRL's own is no limit."""

SAVED_TAG = "completions_saved"
"""Tag of one row of a settled group: how many completions of it were not asked for."""

MANAGER = "actor_rollout_ref.rollout.agent.agent_loop_manager_class"


@dataclass(frozen=True, slots=True)
class SettledGroups:
    """When a group's other completions are not asked for: `+wapo.settled_groups.probe=4`.

    Attributes:
        probe: completions of each prompt that are sampled first. If all are right, the group is settled.
        reward: the reward (`score`) from which a completion is right, the highest that one can get.
    """

    probe: int
    reward: float = 1.0


def settled_groups(config: DictConfig) -> SettledGroups | None:
    """Read `wapo.settled_groups`; None where it is not there.

    Raises:
        SettingsError: for an unknown key or a value that cannot be; the message names the key.
    """
    group = OmegaConf.select(config, GROUP, default=None)
    if group is None:
        return None
    if not isinstance(group, DictConfig):
        raise SettingsError(f"{GROUP} must be a group of keys such as +{GROUP}.probe=4, not {group!r}")
    given = {str(key): value for key, value in group.items()}
    known = [field.name for field in fields(SettledGroups)]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise SettingsError(f"{GROUP} has no key {unknown[0]!r}; its keys are {', '.join(known)}")
    probe, reward = given.get("probe"), given.get("reward", 1.0)
    if not isinstance(probe, int) or isinstance(probe, bool) or probe < 1:
        raise SettingsError(f"{GROUP}.probe must be a whole number of at least 1, not {probe!r}")
    if not isinstance(reward, int | float) or isinstance(reward, bool):
        raise SettingsError(f"{GROUP}.reward must be a number, the highest reward of a completion, not {reward!r}")
    return SettledGroups(probe, float(reward))


def resolved_sampling(config: DictConfig) -> list[ResolvedKey]:
    """Return the lines of the printed table for a resolved configuration.

    Raises:
        SettingsError: where the run cannot do what is asked for; the message says why, and names the mend.
    """
    check_group_filter(config)
    settled = settled_groups(config)
    if settled is None:
        return []
    reason = why_not_settled(config, settled)
    if reason:
        raise SettingsError(f"{GROUP}.probe={settled.probe}: {reason}")
    note = f"where all are right, the other {config.actor_rollout_ref.rollout.n - settled.probe} are not asked for"
    return [
        ResolvedKey(f"{GROUP}.probe", settled.probe, USER, note),
        ResolvedKey(f"{GROUP}.reward", settled.reward, USER, "from this score on a completion is right"),
    ]


def why_not_settled(config: DictConfig, settled: SettledGroups) -> str | None:
    """Return why a run cannot stop settled groups, or None."""
    rollout, reward_model = config.actor_rollout_ref.rollout, config.reward.reward_model
    found, needed = chosen_algorithm(config), why_not(config)
    rules = (
        (
            needed is not None,
            f"a settled group may stay short only where a completion without an advantage changes nothing: {needed}",
        ),
        (
            settled.probe >= rollout.n,
            f"actor_rollout_ref.rollout.n={rollout.n} leaves nothing to stop: set a smaller probe or a larger n",
        ),
        (
            needed is None and found is not None and _trains_on_equals(config, found),
            f"algorithm.adv_estimator={config.algorithm.adv_estimator} trains on groups that are all right: leave "
            f"{GROUP} out",
        ),
        (
            OmegaConf.select(config, "wapo.truncated", default=None) == "zero",
            "wapo.truncated=zero changes rewards after they were looked at; set it to keep or drop",
        ),
        (
            bool(reward_model.enable) and not reward_model.enable_resource_pool,
            "a colocated reward model scores after sampling; set reward.reward_model.enable_resource_pool=True",
        ),
        (
            OmegaConf.select(config, MANAGER, default=None) != FAIL_FAST_MANAGER,
            f"{MANAGER} is not this project's, whose workers stop groups: leave it out",
        ),
        (
            group_filter(config) and settled.probe < 2,
            f"{FILTER}.enable=True cannot tell that a group of one is all-equal: set a probe of at least 2",
        ),
    )
    return next((reason for applies, reason in rules if applies), None)


def _trains_on_equals(config: DictConfig, found: Algorithm) -> bool:
    """Tell whether the algorithm gives a group whose completions are all right an advantage, by asking it."""
    right = Batch(rewards=torch.ones(4), group_ids=torch.tensor([0, 0, 1, 1]), lengths=torch.ones(4, dtype=torch.int64))
    return bool((found.advantages(right, algorithm_options(config, found)).rows != 0).any())


def group_filter(config: DictConfig) -> bool:
    """Tell whether veRL's group filter is on."""
    return bool(OmegaConf.select(config, f"{FILTER}.enable", default=False))


def check_group_filter(config: DictConfig) -> None:
    """Raise SettingsError where a step of all-equal groups would never end."""
    limit: Any = OmegaConf.select(config, LIMIT, default=0)
    if group_filter(config) and (not isinstance(limit, int) or limit < 1):
        raise SettingsError(
            f"{LIMIT}={limit} is no limit, and a step whose groups are all equal would never end: set a number of "
            f"batches of at least 1, or leave it out ({FILTER_DEFAULTS[LIMIT]})"
        )
