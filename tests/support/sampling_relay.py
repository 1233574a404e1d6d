"""Makes the trainer mode `wapo_sampling_relay` known to veRL: named in VERL_USE_EXTERNAL_MODULES, imported everywhere.

veRL is half imported then, so the class itself waits until this project's trainers are there.
"""

from types import ModuleType

import wrapt


@wrapt.when_imported("wapo_verl.training.trainer")
def register(_: ModuleType) -> None:
    """Import the class, whose decorator registers it."""
    import support.sampling_relay_trainer  # noqa: F401
