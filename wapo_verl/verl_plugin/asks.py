"""Whether a run asks for anything of this package. Every other run is left exactly as veRL makes it.

A run asks by its configuration: an estimator, a loss or a trainer mode of ours, a key under `wapo.`, a class, module or
file of ours under any key (a reward function, a manager, a worker extension), an agent loop of ours (as the default, or
in the files of `agent_loop_config_path` and `tool_config_path`), or the CPU as its device.

Rows are not read: rows with `agent_name` search_agent need `wapo.search_agent.index`, which is such a key, and without
it their episodes fail with a sentence that names it. Environments are asked for through the reward function.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from wapo_verl.cpu.where import NAME as CPU
from wapo_verl.cpu.where import asks_for_cpu

NAMESPACE = "wapo"
ESTIMATOR = "algorithm.adv_estimator"
LOSS = "actor_rollout_ref.actor.policy_loss.loss_mode"
TRAINER_MODE = "trainer.v1.trainer_mode"
DEVICE = "trainer.device"
DEFAULT_LOOP = "actor_rollout_ref.rollout.agent.default_agent_loop"
LOOP_MANAGER = "actor_rollout_ref.rollout.agent.agent_loop_manager_class"
TRAINER_PREFIX = "wapo_"
AGENT_LOOPS = {
    "search_agent": "wapo_verl.rollout.search_agent.SearchAgentLoop",
    "search_tool_agent": "wapo_verl.rollout.search_tool_agent.SearchToolAgentLoop",
}
"""Our agent loops: the name in a row, and the class."""

FILES = (
    "actor_rollout_ref.rollout.agent.agent_loop_config_path",
    "actor_rollout_ref.rollout.multi_turn.tool_config_path",
)
"""The keys that name files in which a class of ours may stand."""

_LABELS = ("trainer.project_name", "trainer.experiment_name")
_OURS = re.compile(r"(pkg://)?wapo_verl\.\w|([^\s]*/)?wapo_verl/[\w/]+\.(py|yaml)$")
_OURS_IN_A_FILE = re.compile(r"""[\s:"']wapo_verl\.\w""")


def asks_for_ours(config: DictConfig) -> bool:
    """Tell whether a run asks for anything of this package; what is no configuration of Hydra's never does."""
    return isinstance(config, DictConfig) and next(_asked(config), None) is not None


def asked(config: DictConfig) -> dict[str, str]:
    """Return every key of a run that asks for something of this package, and its value.

    Args:
        config: veRL's whole configuration, of whichever engine and version; nothing in it has to be there.
    """
    return dict(_asked(config))


def _asked(config: DictConfig) -> Iterator[tuple[str, str]]:
    ours = OmegaConf.select(config, NAMESPACE, default=None)
    if ours is not None:
        yield from ((f"{NAMESPACE}.{key}", str(value)) for key, value in ours.items())
    if asks_for_cpu(config):
        yield DEVICE, CPU
    for key, is_ours in _NAMES.items():
        name = OmegaConf.select(config, key, default=None)
        if name is not None and is_ours(str(name)):
            yield key, str(name)
    for key, text in _strings(OmegaConf.to_container(config, resolve=False)):
        if key not in _LABELS and _OURS.match(text):
            yield key, text
    for key in FILES:
        path = OmegaConf.select(config, key, default=None)
        if path and Path(path).is_file() and _OURS_IN_A_FILE.search(Path(path).read_text(errors="replace")):
            yield key, str(path)


def is_our_estimator(name: str) -> bool:
    """Tell whether an advantage estimator is this project's."""
    return not _is_others("ADV_ESTIMATOR_REGISTRY", name) and name in _algorithms()


def is_our_loss(name: str) -> bool:
    """Tell whether a policy loss is this project's."""
    return not _is_others("POLICY_LOSS_REGISTRY", name) and any(
        name in algorithm.losses for algorithm in _algorithms().values()
    )


_NAMES: dict[str, Callable[[str], bool]] = {
    ESTIMATOR: is_our_estimator,
    LOSS: is_our_loss,
    TRAINER_MODE: lambda name: name.startswith(TRAINER_PREFIX),
    DEFAULT_LOOP: AGENT_LOOPS.__contains__,
}
"""The keys that choose something by its name, and the test for a name of ours."""


def _is_others(registry: str, name: str) -> bool:
    """Tell whether veRL, or another plugin, has registered a name; nothing of ours is imported to find out."""
    core_algos = sys.modules.get("verl.trainer.ppo.core_algos")
    registered = getattr(core_algos, registry, {}).get(name)
    return registered is not None and not str(registered.__module__).startswith("wapo_verl.")


def _algorithms() -> Mapping[str, Any]:
    from wapo_verl.algorithms import ALGORITHMS

    return ALGORITHMS


def _strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted key and the text of every string in nested dicts and lists."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, child in value.items():
            yield from _strings(child, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for child in value:
            yield from _strings(child, key)
