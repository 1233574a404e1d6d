"""How the plugin gets into a process: the driver, Ray's actors, vLLM's workers, whatever imports verl.

veRL is half imported at that moment and most processes need a few of its modules only, so nothing is imported here:
each piece is put in place when the module that it belongs to is imported, and whatever is more than a few lines when a
run asks for it. Until then a process is as it would be without this package: the hooks below look a name up that veRL
does not have, or ask a configuration whether it asks for us.
"""

import importlib
import os
from types import ModuleType

from wapo_verl.verl_plugin.after_import import after_import
from wapo_verl.verl_plugin.asks import AGENT_LOOPS
from wapo_verl.verl_plugin.patches import PATCHES, Patch

OFF = "WAPO_VERL_DISABLE"
"""Set to anything but 0, it leaves veRL as it is without this package."""

CPU_PLATFORM = "wapo_verl.cpu.platform"


def is_off() -> bool:
    """Tell whether the user has switched the plugin off."""
    return os.environ.get(OFF, "0") not in ("", "0")


def load() -> None:
    """Put the hooks in place; calling it again changes nothing."""
    if is_off():
        return
    for patch in PATCHES:
        _watch(patch)
    after_import("verl.experimental.agent_loop.agent_loop", _name_agent_loops)
    after_import(CPU_PLATFORM, _watch_engines)
    if os.environ.get("VERL_PLATFORM", "").strip().lower() == "cpu":
        _register_cpu()


def _watch(patch: Patch) -> None:
    """Apply a patch when its module is imported, and not before the module of ours that needs it is."""
    if not patch.needed_by:
        after_import(patch.module, patch.apply)
    else:
        after_import(patch.needed_by, patch.when_needed)


def _name_agent_loops(module: ModuleType) -> None:
    """Tell veRL where our agent loops are, as its decorator does, for rows that name them; none is imported."""
    registry = getattr(module, "_agent_loop_registry", {})
    for name, target in AGENT_LOOPS.items():
        registry.setdefault(name, {"_target_": target})


def _watch_engines(_: ModuleType) -> None:
    after_import("verl.workers.engine.fsdp.transformer_impl", _register_engines)


def _register_engines(_: ModuleType) -> None:
    importlib.import_module("wapo_verl.cpu.engines").register()


def _register_cpu() -> None:
    """Register the CPU platform in a process whose VERL_PLATFORM asks for it.

    veRL hides what a plugin raises, and would call the platform unknown later, so the reason is printed.
    """
    try:
        importlib.import_module(CPU_PLATFORM)
    except ImportError as error:
        from wapo_verl.say import say  # a run that asks for nothing of ours imports nothing but the hooks

        say(f"VERL_PLATFORM=cpu, but the CPU platform cannot be imported: {error}", is_error=True)
        raise
