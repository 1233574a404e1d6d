"""Finds the environments: every sub-package of ``envs/`` that exposes ``ENVIRONMENT``.

Adding a folder is all it takes to add an environment; nothing here or elsewhere lists their names.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

import envs
from envs.environment import Environment


@cache
def names() -> tuple[str, ...]:
    """The names of the environments' folders, sorted; nothing is imported."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(envs.__path__) if module.ispkg))


@cache
def environment(name: str) -> Environment:
    """The environment of that name.

    Raises:
        ValueError: when there is no such folder (the known names are given), or the folder exposes no ``ENVIRONMENT``
            of its own name.
    """
    if name not in names():
        raise ValueError(f"no environment {name!r}; the environments are {', '.join(names())}")
    found = getattr(importlib.import_module(f"envs.{name}"), "ENVIRONMENT", None)
    if not isinstance(found, Environment):
        raise ValueError(f"envs/{name}/__init__.py must set ENVIRONMENT to an instance of an Environment subclass")
    if found.name != name:
        raise ValueError(f"envs/{name} exposes an environment named {found.name!r}; folder and name must be the same")
    return found


def environments() -> dict[str, Environment]:
    """All environments, name -> environment."""
    return {name: environment(name) for name in names()}
