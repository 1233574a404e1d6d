"""Makes the trainer mode `wapo_relay` known to veRL: named in VERL_USE_EXTERNAL_MODULES, imported by every process.

veRL is half imported then, so the class itself waits until this project's trainers are there.
"""

from types import ModuleType

from wapo_verl.verl_plugin.after_import import after_import


def register(_: ModuleType) -> None:
    """Import the class, whose decorator registers it."""
    import support.relay_trainer  # noqa: F401


after_import("wapo_verl.training.trainer", register)
