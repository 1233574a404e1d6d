"""What a run's settings come to, before veRL validates them: the algorithm's, the platform's, and which trainer runs.

Left out: how a default is applied and printed (`settings`), and the values (the algorithms, `platform.defaults`).
"""

import os
from collections.abc import Mapping

from omegaconf import DictConfig, OmegaConf

from wapo_verl import settings
from wapo_verl.agent_loop import FAIL_FAST_MANAGER
from wapo_verl.algorithms import Default
from wapo_verl.platform.defaults import CPU_DEFAULTS

PREFIX = "wapo_"
"""What this project's trainer modes have before veRL's names."""

MODES = ("sync", "colocate_async", "separate_async")


def apply(config: DictConfig) -> None:
    """Resolve a run's settings in place, and print what was resolved.

    Raises:
        SettingsError: where a setting contradicts the algorithm (see `settings.apply`).
    """
    further: list[tuple[str, Mapping[str, Default]]] = []
    if wants_ours(config):
        further.append(
            ("wapo-verl's trainer", {"actor_rollout_ref.rollout.agent.agent_loop_manager_class": FAIL_FAST_MANAGER})
        )
    if on_cpu(config):
        further.append(("the CPU", CPU_DEFAULTS))
    settings.apply(config, further)
    if wants_ours(config):
        mode = config.trainer.v1.trainer_mode
        if mode in MODES:
            OmegaConf.update(config, "trainer.v1.trainer_mode", PREFIX + mode)


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
