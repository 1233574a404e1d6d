"""How the plugin gets into a process: the driver, Ray's actors, vLLM's workers, whatever imports verl.

veRL is half imported at that moment and most processes need a few of its modules only, so nothing is imported here that
veRL has not imported already: each piece is put in place when the module it belongs to is imported (`HOOKS`).

veRL swallows what a plugin raises. A run without the plugin would fail much later, with "Unknown advantage estimator",
so a plugin that cannot load ends the process here, with its reason.
"""

import importlib
import os
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

import wrapt

from wapo_verl.verl_plugin import patches as verl_patches

SKIP = "VERL_USE_EXTERNAL_PLUGINS=none"


class PluginError(RuntimeError):
    """The plugin cannot work in this environment; the message says why, and the mend."""


def check_versions() -> None:
    """Raise PluginError unless the installed veRL is the one the patches were written for."""
    try:
        installed = version("verl")
    except PackageNotFoundError as error:
        raise PluginError(f"verl is not installed. Run: pip install verl=={verl_patches.VERSION}") from error
    if installed != verl_patches.VERSION:
        raise PluginError(
            f"verl {installed} is installed, wapo-verl is written for verl {verl_patches.VERSION}. "
            f"Run: pip install verl=={verl_patches.VERSION}"
        )


def _register_algorithms(_: ModuleType) -> None:
    from wapo_verl.verl_plugin.algorithms import register_all

    register_all()


def _importing(name: str) -> Callable[[ModuleType], None]:
    """Make a hook that imports one of our modules, whose decorators register what it holds with veRL."""

    def hook(_: ModuleType) -> None:
        importlib.import_module(name)

    return hook


HOOKS: tuple[tuple[str, Callable[[ModuleType], None]], ...] = (
    ("verl.trainer.ppo.core_algos", _register_algorithms),
    ("verl.trainer.ppo.v1", _importing("wapo_verl.training.trainer")),
    ("verl.experimental.agent_loop", _importing("wapo_verl.rollout.search_agent")),
    ("verl.experimental.agent_loop", _importing("wapo_verl.rollout.search_tool_agent")),
    ("verl.workers.engine.fsdp.transformer_impl", _importing("wapo_verl.engine.engine")),
    *((patch.module, patch.apply) for patch in verl_patches.PATCHES),
)


def _in_the_users_face(name: str, hook: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
    """Wrap a hook so that its failure names the plugin, since it surfaces in the middle of somebody's import."""

    def run(module: ModuleType) -> None:
        try:
            hook(module)
        except Exception as error:
            raise PluginError(f"wapo-verl could not register itself with {name}: {error}") from error

    return run


def register_platform() -> None:
    """Register the CPU platform, and make it the current one where veRL has already settled for a missing GPU."""
    from verl.plugin.platform import platform_manager

    from wapo_verl.cpu.platform import NAME, PlatformCPU
    from wapo_verl.cpu.vllm_distribution import install

    platform_manager.PlatformRegistry.register(platform=NAME)(PlatformCPU)
    current = platform_manager._current_platform
    if current is not None and not os.environ.get("VERL_PLATFORM") and PlatformCPU().is_platform_available():
        platform_manager._current_platform = PlatformCPU()
    install()


def load() -> None:
    """Put every piece in place; raises PluginError, with the mend, where one cannot be."""
    check_versions()
    try:
        register_platform()
    except ImportError as error:
        raise PluginError(f"wapo-verl's CPU platform cannot be imported: {error}") from error
    for name, hook in HOOKS:
        wrapt.register_post_import_hook(_in_the_users_face(name, hook), name)


def load_or_exit() -> None:
    """Load the plugin; on failure print one clear error and end the process."""
    try:
        load()
    except PluginError as error:
        message = f"wapo-verl: {error}\n(`wapo-verl doctor` tells more; {SKIP} runs verl without this plugin.)"
        print(message, file=sys.stderr, flush=True)
        # SystemExit, since veRL swallows every Exception a plugin raises.
        raise SystemExit(1) from error
