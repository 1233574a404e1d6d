"""Puts our actor engine in the place of veRL's, in the workers of a run with our trainer.

Such a run names this module in `actor_rollout_ref.model.external_lib`, which veRL's workers import before they make
their engine, and so do processes that make none: nothing else is imported before veRL's engine is.
"""

import importlib
from types import ModuleType

from wapo_verl.verl_plugin.after_import import after_import


def _register(_: ModuleType) -> None:
    importlib.import_module("wapo_verl.engine.engine")


after_import("verl.workers.engine.fsdp.transformer_impl", _register)
