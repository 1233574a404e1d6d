"""What a run's settings come to, before veRL validates them: the algorithm's, the platform's, and which trainer runs.

Left out: how a default is applied and printed (`settings`), and the values (the algorithms, `platform.defaults`).
"""

import os
from collections.abc import Mapping
from difflib import get_close_matches

from omegaconf import DictConfig, OmegaConf

from wapo_verl.algorithms import Default, algorithms
from wapo_verl.cpu.defaults import cpu_defaults
from wapo_verl.cpu.where import on_cpu
from wapo_verl.engine.step_plan import GROUPS as PLAN_GROUPS
from wapo_verl.engine.step_plan import SWITCH as PLAN_SWITCH
from wapo_verl.engine.step_plan import StepPlanner, plan_groups
from wapo_verl.environments.registry import VARIABLE, folders
from wapo_verl.guard.settings import guard_settings
from wapo_verl.rollout import EPISODE_ROWS, FAIL_FAST_MANAGER, TOOL_CONFIG
from wapo_verl.rollout.index_check import check_index
from wapo_verl.rollout.settings import SearchAgentConfig
from wapo_verl.settings import resolve as settings
from wapo_verl.training.group_filter import FILTER_DEFAULTS, check_group_filter, group_filter
from wapo_verl.training.winners_settings import resolved_winners_only

PREFIX = "wapo_"
"""What this project's trainer modes have before veRL's names."""

AGENT = "actor_rollout_ref.rollout.agent"
RAY_VARIABLES = "ray_kwargs.ray_init.runtime_env.env_vars"
"""What Ray's processes get as variables, on whichever node they are."""

MODES = ("sync", "colocate_async", "separate_async")

KEYS = ("trainer", "winners_only", "search_agent", "guard", *PLAN_GROUPS, PLAN_SWITCH)
"""The keys under `wapo.` that are no algorithm's own."""


def apply(config: DictConfig) -> None:
    """Resolve a run's settings in place, and print what was resolved.

    Raises:
        SettingsError: where a setting contradicts the algorithm (see `settings.apply`), the guard or a step's plan, or
            a key under `wapo.` is none that this run reads.
        ValueError: where a key of `wapo.search_agent` is wrong, its index cannot be opened, or WAPO_ENVIRONMENTS names
            no folder: here, before anything is started.
    """
    check_keys(config)
    check_trainer(config)
    check_guard(config)
    further: list[tuple[str, Mapping[str, Default]]] = []
    if wants_ours(config) or searches(config):
        further.append(("wapo-verl's agent loops", {f"{AGENT}.agent_loop_manager_class": FAIL_FAST_MANAGER}))
    if searches(config):
        check_search_agent(config)
        reward: dict[str, Default] = {"reward.custom_reward_function.path": "pkg://wapo_verl.reward"}
        further.append(("wapo-verl's environments", {**reward, **rows_defaults(config)}))
    if places := folders():
        further.append(("wapo-verl's environments", {f"{RAY_VARIABLES}.{VARIABLE}": os.pathsep.join(map(str, places))}))
    if on_cpu(config):
        further.append(("the CPU", cpu_defaults(config)))
    if group_filter(config) and wants_ours(config):
        further.append(("the group filter", FILTER_DEFAULTS))
    settings.apply(config, further, variants=variants)
    if wants_ours(config):
        mode = config.trainer.v1.trainer_mode
        if mode in MODES:
            OmegaConf.update(config, "trainer.v1.trainer_mode", PREFIX + mode)


def variants(resolved: DictConfig) -> list[settings.ResolvedKey]:
    """Return the lines of further keys under `wapo.`; raises SettingsError for what the resolved run cannot do."""
    if wants_ours(resolved):
        check_group_filter(resolved)
    return [*planned(resolved), *resolved_winners_only(resolved)]


def searches(config: DictConfig) -> bool:
    """Tell whether the run's episodes search: the group `wapo.search_agent` is there."""
    return OmegaConf.select(config, "wapo.search_agent", default=None) is not None


def check_search_agent(config: DictConfig) -> None:
    """Raise ValueError for a wrong key of `wapo.search_agent`, or an address without a finished index behind it."""
    check_index(SearchAgentConfig.from_config(config), int(config.trainer.nnodes))


def rows_defaults(config: DictConfig) -> dict[str, Default]:
    """Return the keys by which overlong prompts are counted as the agent loops build them."""
    tools = OmegaConf.select(config, "actor_rollout_ref.rollout.multi_turn.tool_config_path")
    if OmegaConf.select(config, f"{AGENT}.default_agent_loop") == "search_tool_agent" and tools is None:
        return {**EPISODE_ROWS, "data.tool_config_path": TOOL_CONFIG}  # of rows that name no agent loop
    return {**EPISODE_ROWS}


def wants_ours(config: DictConfig) -> bool:
    """Tell whether this project's trainer runs: for its algorithms, guard, plans, or by name or `+wapo.trainer=...`."""
    asked = OmegaConf.select(config, "wapo.trainer", default=None)
    if asked is not None:
        return bool(asked)
    if str(config.trainer.v1.trainer_mode).startswith(PREFIX):
        return True
    found = settings.chosen_algorithm(config)
    return found is not None or guard_settings(config) is not None or bool(plan_groups(config))


def check_keys(config: DictConfig) -> None:
    """Raise SettingsError for a key under `wapo.` that nothing in this run reads: it would do nothing, silently."""
    given = OmegaConf.select(config, settings.NAMESPACE, default=None) or {}
    found = settings.chosen_algorithm(config)
    own = {} if found is None else found.options
    for name in (str(name) for name in given if name not in KEYS):
        key = f"{settings.NAMESPACE}.{name}"
        takers = [other.name for other in algorithms().values() if name in other.options]
        if not takers:
            close = get_close_matches(
                name, [*KEYS, *(option for a in algorithms().values() for option in a.options)], 1
            )
            meant = f"did you mean {settings.NAMESPACE}.{close[0]}?" if close else f"there are {', '.join(KEYS)}"
            raise settings.SettingsError(f"{key} is not a key of this project: {meant}")
        if name not in own:
            raise settings.SettingsError(
                f"{key} is an option of {', '.join(takers)}, and algorithm.adv_estimator is "
                f"{config.algorithm.adv_estimator}: leave it out or choose another estimator"
            )
        if not wants_ours(config) and given[name] != own[name][0]:
            raise settings.SettingsError(
                f"{key}={given[name]} is obeyed by this project's trainer alone: leave out wapo.trainer=false"
            )


def check_trainer(config: DictConfig) -> None:
    """Raise SettingsError where `wapo.trainer=false` stands beside one of this project's trainer modes."""
    mode = str(config.trainer.v1.trainer_mode)
    if mode.startswith(PREFIX) and OmegaConf.select(config, "wapo.trainer", default=None) is False:
        raise settings.SettingsError(
            f"trainer.v1.trainer_mode={mode} is this project's trainer, which wapo.trainer=false declines: drop one"
        )


def check_guard(config: DictConfig) -> None:
    """Raise SettingsError for a wrong key of `wapo.guard`, or a guard that no trainer would ask."""
    if guard_settings(config) is not None:
        _check_our_trainer(config, "wapo.guard watches from this project's trainer")


def planned(config: DictConfig) -> list[settings.ResolvedKey]:
    """Return the keys of the steps' plans; raises SettingsError for a wrong one, or one that no trainer would send."""
    for name in plan_groups(config):
        _check_our_trainer(config, f"{name} is sent to the engine by this project's trainer")
    return StepPlanner(config).resolved()


def _check_our_trainer(config: DictConfig, reason: str) -> None:
    mode = config.trainer.v1.trainer_mode
    if not wants_ours(config) or mode.removeprefix(PREFIX) not in MODES:
        raise settings.SettingsError(
            f"{reason}: leave out wapo.trainer=false, and set "
            f"trainer.v1.trainer_mode to one of {', '.join(MODES)} (it is {mode})"
        )
