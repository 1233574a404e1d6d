"""Find the algorithms: every module of this folder that defines `ALGORITHM`."""

import functools
import importlib
import pkgutil

import wapo_verl.algorithms
from wapo_verl.algorithms.algorithm import Algorithm


@functools.cache
def algorithms() -> dict[str, Algorithm]:
    """Return every algorithm of this folder by name.

    Raises:
        ValueError: where two files claim one name for their estimator or for a loss.
    """
    found: dict[str, Algorithm] = {}
    losses: dict[str, str] = {}
    for module in pkgutil.iter_modules(wapo_verl.algorithms.__path__):
        imported = importlib.import_module(f"{wapo_verl.algorithms.__name__}.{module.name}")
        candidate = getattr(imported, "ALGORITHM", None)
        if candidate is None:
            continue
        if candidate.name in found:
            raise ValueError(f"{module.name}.py names its algorithm {candidate.name!r}, which is taken: rename it")
        found[candidate.name] = candidate
        for loss in candidate.losses:
            if loss in losses:
                raise ValueError(f"{module.name}.py names a loss {loss!r}, which {losses[loss]} has: rename it")
            losses[loss] = candidate.name
    return found


def own_losses(acts_without_advantage: bool) -> frozenset[str]:
    """Return the names of this project's losses that act, or do not act, on tokens without an advantage."""
    found = (entry for entry in algorithms().values() if entry.acts_without_advantage is acts_without_advantage)
    return frozenset(name for entry in found for name in entry.losses)


def algorithm(name: str) -> Algorithm | None:
    """Return the algorithm of that name, or None where it is not one of this project's."""
    return algorithms().get(name)
