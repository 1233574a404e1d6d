"""Resolve a run's settings before veRL validates them: read, set defaults, decide, check, print, write back."""

import os
from collections.abc import Iterator, Mapping, Sequence

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from wapo_verl.algorithms import ALGORITHMS, Default
from wapo_verl.cpu.defaults import RAY_VARIABLES, cpu_defaults
from wapo_verl.cpu.where import on_cpu
from wapo_verl.environments.registry import VARIABLE, folders
from wapo_verl.rollout import EPISODE_ROWS, FAIL_FAST_MANAGER, TOOL_CONFIG
from wapo_verl.rollout.index_check import check_index
from wapo_verl.rollout.seeds import SEED as SAMPLING_SEED
from wapo_verl.rollout.settings import RESOLVED as SEARCH_AGENT
from wapo_verl.settings.conflicts import conflicts
from wapo_verl.settings.decide import (
    FILTER,
    OUR_REWARD,
    Run,
    decide,
    filters_groups,
    sampling_seed,
    search_agent,
    trainer_is_ours,
)
from wapo_verl.settings.defaults import USER, ResolvedKey, apply_defaults
from wapo_verl.settings.explicit_keys import explicit_keys, is_explicit
from wapo_verl.settings.keys import NAMESPACE, read
from wapo_verl.settings.outcomes import outcome_parts
from wapo_verl.settings.table import failures_line, plan_lines, report, winners_only_line
from wapo_verl.training.decisions import MODES, PREFIX, Decisions
from wapo_verl.training.decisions import RESOLVED as TRAINING

AGENT = "actor_rollout_ref.rollout.agent"
MODE = "trainer.v1.trainer_mode"

Features = Sequence[tuple[str, Mapping[str, Default]]]
"""(origin, defaults) of everything that a run uses beside its algorithm."""


def apply(config: DictConfig, console: Console | None = None) -> list[ResolvedKey]:
    """Resolve a run's settings in place, print what they came to, and write the decisions under `wapo.resolved`.

    Args:
        config: veRL's whole configuration.
        console: where to print; the terminal by default.

    Raises:
        SettingsError: for a key that nothing reads, a value that cannot be, or settings that contradict each other.
        ValueError: where an index cannot be opened, or WAPO_ENVIRONMENTS names no folder.
    """
    algorithm = ALGORITHMS.get(str(config.algorithm.adv_estimator))
    keys, options = read(config, algorithm)
    run = Run(
        config=config,
        keys=keys,
        algorithm=algorithm,
        options=options,
        is_ours=trainer_is_ours(config, keys, algorithm),
        search_agent=search_agent(config, keys),
    )
    if run.search_agent is not None:
        check_index(run.search_agent, int(config.trainer.nnodes))
    explicit = explicit_keys(config)
    features = list(_features(run))
    resolved = _set_defaults(run, features, explicit)
    decisions = decide(run, outcome_parts(run))
    resolved += [
        ResolvedKey(f"{NAMESPACE}.{name}", value, USER)
        for name, value in options.items()
        if is_explicit(f"{NAMESPACE}.{name}", explicit)
    ]
    if keys.outcome_gate is not None:
        note = "a group has winners only where this part differs in it"
        resolved.append(ResolvedKey(f"{NAMESPACE}.outcome_gate", keys.outcome_gate, USER, note))
    resolved += [*plan_lines(run, decisions), *winners_only_line(run, decisions), *failures_line(run, decisions)]
    report(resolved, conflicts(run, decisions), [origin for origin, _ in features], console)
    _write(run, decisions)
    return resolved


def _set_defaults(run: Run, features: Features, explicit: set[str]) -> list[ResolvedKey]:
    """Set the algorithm's values of veRL's keys, then each feature's; an earlier one wins over a later one."""
    resolved: list[ResolvedKey] = []
    if run.algorithm is not None:
        resolved += apply_defaults(
            run.config, run.algorithm.defaults, explicit, run.algorithm.name, run.algorithm.notes
        )
    for origin, defaults in features:
        done = {entry.key for entry in resolved}
        left = {key: default for key, default in defaults.items() if key not in done}
        resolved += apply_defaults(run.config, left, explicit, origin)
    return resolved


def _features(run: Run) -> Iterator[tuple[str, Mapping[str, Default]]]:
    """Yield the origins whose defaults a run gets beside its algorithm's, with the defaults."""
    searches = run.search_agent is not None
    if run.is_ours or searches:
        yield "wapo-verl's agent loops", {f"{AGENT}.agent_loop_manager_class": FAIL_FAST_MANAGER}
    if searches:
        yield "wapo-verl's environments", {"reward.custom_reward_function.path": OUR_REWARD, **EPISODE_ROWS}
        tools = OmegaConf.select(run.config, "actor_rollout_ref.rollout.multi_turn.tool_config_path")
        if OmegaConf.select(run.config, f"{AGENT}.default_agent_loop") == "search_tool_agent" and tools is None:
            yield "wapo-verl's environments", {"data.tool_config_path": TOOL_CONFIG}  # of rows that name no agent loop
    if places := folders():
        yield "wapo-verl's environments", {f"{RAY_VARIABLES}.{VARIABLE}": os.pathsep.join(map(str, places))}
    if on_cpu(run.config):
        yield "the CPU", cpu_defaults(run.config)
    if run.is_ours and filters_groups(run.config):
        yield "the group filter", {f"{FILTER}.max_num_gen_batches": 10}  # veRL's own is no limit


def _write(run: Run, decisions: Decisions) -> None:
    """Write the decisions into the configuration, where the trainer and the agent loops read them."""
    if run.is_ours:
        OmegaConf.update(run.config, TRAINING, decisions.model_dump(), force_add=True)
        if (mode := run.config.trainer.v1.trainer_mode) in MODES:
            OmegaConf.update(run.config, MODE, PREFIX + mode)
    if (seed := sampling_seed(run)) is not None:
        OmegaConf.update(run.config, SAMPLING_SEED, seed, force_add=True)
    if run.search_agent is not None:
        OmegaConf.update(run.config, SEARCH_AGENT, run.search_agent.model_dump(), force_add=True)
