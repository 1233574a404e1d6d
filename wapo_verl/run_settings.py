"""What a run's settings come to, before veRL validates them: the algorithm's, the platform's, and which trainer runs.

Left out: how a default is applied and printed (`settings`), and the values (the algorithms, `platform.defaults`).
"""

import os
from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from retrieval_index import IndexStateError, Manifest
from wapo_verl import settings
from wapo_verl.agent_loop import FAIL_FAST_MANAGER
from wapo_verl.agent_loop.settings import SearchAgentConfig
from wapo_verl.algorithms import Default
from wapo_verl.platform.defaults import CPU_DEFAULTS

PREFIX = "wapo_"
"""What this project's trainer modes have before veRL's names."""

AGENT = "actor_rollout_ref.rollout.agent"
MODES = ("sync", "colocate_async", "separate_async")


def apply(config: DictConfig) -> None:
    """Resolve a run's settings in place, and print what was resolved.

    Raises:
        SettingsError: where a setting contradicts the algorithm (see `settings.apply`).
        ValueError: where a key of `wapo.search_agent` is wrong, or its index cannot be opened: here, before anything is
            started.
    """
    further: list[tuple[str, Mapping[str, Default]]] = []
    if wants_ours(config) or searches(config):
        further.append(("wapo-verl's agent loops", {f"{AGENT}.agent_loop_manager_class": FAIL_FAST_MANAGER}))
    if searches(config):
        check_search_agent(config)
        further.append(("wapo-verl's environments", {"reward.custom_reward_function.path": "pkg://wapo_verl.reward"}))
    if on_cpu(config):
        further.append(("the CPU", CPU_DEFAULTS))
    settings.apply(config, further)
    if wants_ours(config):
        mode = config.trainer.v1.trainer_mode
        if mode in MODES:
            OmegaConf.update(config, "trainer.v1.trainer_mode", PREFIX + mode)


def searches(config: DictConfig) -> bool:
    """Tell whether the run's episodes search: the group `wapo.search_agent` is there."""
    return OmegaConf.select(config, "wapo.search_agent", default=None) is not None


def check_search_agent(config: DictConfig) -> None:
    """Raise ValueError for a wrong key of `wapo.search_agent`, or an index of this machine that is no finished one."""
    addresses = SearchAgentConfig.from_config(config).addresses
    if int(config.trainer.nnodes) > 1:
        return
    for address in addresses:
        if "://" not in address:
            try:
                Manifest.read(Path(address))
            except IndexStateError as error:
                raise ValueError(f"wapo.search_agent.index: {error}") from error


def wants_ours(config: DictConfig) -> bool:
    """Tell whether this project's trainer runs: for its own algorithms, or as `+wapo.trainer=true|false` says."""
    asked = OmegaConf.select(config, "wapo.trainer", default=None)
    return settings.chosen_algorithm(config) is not None if asked is None else bool(asked)


def on_cpu(config: DictConfig) -> bool:
    """Tell whether the run computes on this machine's CPU.

    A machine without an accelerator may also be the head of a cluster that has them: a Ray address, or more than one
    node, says so, and then the CPU's settings are not applied unless `trainer.device=cpu` asks for them.
    """
    from verl.utils.device import get_device_name

    if get_device_name() != "cpu":
        return False
    if config.trainer.device == "cpu":
        return True
    elsewhere = os.environ.get("RAY_ADDRESS") or OmegaConf.select(config, "ray_kwargs.ray_init.address", default=None)
    return not elsewhere and int(config.trainer.nnodes) == 1
