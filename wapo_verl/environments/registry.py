"""Finds the environments: folders of this package, folders elsewhere, and packages that announce theirs.

Three places, none of which lists names in code:

- every folder in ``envs/`` (in a wheel, beside this package), the built-in environments;
- every package in a folder that the variable ``WAPO_ENVIRONMENTS`` names (several with ``:`` between them); such a
  package and a built-in one are imported alike, as ``wapo_verl.environments.installed.NAME``;
- every entry point of the group ``wapo_verl.environments``, whose module exposes ``ENVIRONMENT``.

Each process looks for itself: Ray's workers see the variable (the plugin passes it on to them) and the installed
packages, so nothing of an environment is ever pickled.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from wapo_verl.environments import installed
from wapo_verl.environments.environment import Environment

VARIABLE = "WAPO_ENVIRONMENTS"
GROUP = "wapo_verl.environments"
_PACKAGE = installed.__name__


def folders() -> tuple[Path, ...]:
    """Return the folders that ``WAPO_ENVIRONMENTS`` names, absolute, in its order.

    Raises:
        ValueError: for one that is not there.
    """
    found = tuple(Path(text).absolute() for text in os.environ.get(VARIABLE, "").split(os.pathsep) if text)
    for folder in found:
        if not folder.is_dir():
            raise ValueError(f"{VARIABLE} names {folder}, which is no folder; make it, or take it out of the variable")
    return found


def names() -> tuple[str, ...]:
    """Return the names of the environments, sorted; none is imported.

    Raises:
        ValueError: when two places have one of the same name, naming both, or the variable names no folder.
    """
    return tuple(sorted(_current_places()))


def environment(name: str) -> Environment:
    """Return the environment of that name.

    Raises:
        ValueError: when there is none (the known names are given), its folder has no ``__init__.py``, or it exposes no
            ``ENVIRONMENT`` of its own name.
    """
    places = _current_places()
    if name not in places:
        raise ValueError(_unknown(name, tuple(sorted(places))))
    return _load(name, places[name])


def environment_of(data_source: str) -> Environment:
    """Return the environment that scores rows of that ``data_source``: the one of this name, else one that claims it.

    Raises:
        ValueError: when there is none, or several claim it.
    """
    if data_source in names():
        return environment(data_source)
    claiming = [name for name, other in environments().items() if data_source in other.data_sources]
    if len(claiming) > 1:
        raise ValueError(f"{' and '.join(claiming)} both score rows of the data source {data_source!r}; keep one")
    return environment(claiming[0] if claiming else data_source)


def environments() -> dict[str, Environment]:
    """Return all environments, name -> environment."""
    return {name: environment(name) for name in names()}


def forget() -> None:
    """Look again at the next call: for a process that has itself made, or announced, an environment."""
    importlib.invalidate_caches()
    _places.cache_clear()


def _current_places() -> dict[str, Path | EntryPoint]:
    return _places(os.environ.get(VARIABLE, ""), tuple(installed.__path__))


@cache  # a reward asks for its environment once for every sample
def _places(variable: str, path: tuple[str, ...]) -> dict[str, Path | EntryPoint]:
    """Name -> the folder that holds it, or the entry point that announces it; read anew when an argument changes."""
    named = folders()
    found: dict[str, Path | EntryPoint] = {}
    for folder in (*(Path(own) for own in path if Path(own) not in named), *named):
        for module in pkgutil.iter_modules([str(folder)]):
            if module.ispkg:
                _refuse_twice(module.name, found, folder / module.name)
                found[module.name] = folder / module.name
    for announced in entry_points(group=GROUP):
        _refuse_twice(announced.name, found, announced)
        found[announced.name] = announced
    return found


def _refuse_twice(name: str, found: dict[str, Path | EntryPoint], second: Path | EntryPoint) -> None:
    if name in found:
        first, again = (place.value if isinstance(place, EntryPoint) else place for place in (found[name], second))
        raise ValueError(f"two environments are named {name!r}, in {first} and in {again}; rename one of them")


def _unknown(name: str, known: tuple[str, ...]) -> str:
    for folder in (installed.BUILTIN, *folders()):
        if name and (folder / name).is_dir():
            return f"{folder / name} has no __init__.py, so it is no environment; write one that sets ENVIRONMENT"
        if folder.name == name and (folder / "__init__.py").is_file():
            return f"{VARIABLE} names the environment {folder} itself: name {folder.parent}, which holds it"
    close = get_close_matches(name, known, 1)
    return (
        f"no environment {name!r}; the environments are {', '.join(known)} "
        f"(one of your own is looked for in the folders that {VARIABLE} names)"
        + (f"; did you mean {close[0]!r}?" if close else "")
    )


@cache
def _load(name: str, place: Path | EntryPoint) -> Environment:
    if isinstance(place, EntryPoint):
        module, where = importlib.import_module(place.module), place.module
    else:
        if str(place.parent) not in installed.__path__:
            installed.__path__.append(str(place.parent))
        module, where = importlib.import_module(f"{_PACKAGE}.{name}"), str(place / "__init__.py")
        if place.parent == installed.BUILTIN:
            where = f"envs/{name}/__init__.py"
    found = getattr(module, "ENVIRONMENT", None)
    if not isinstance(found, Environment):
        raise ValueError(f"{where} must set ENVIRONMENT to an instance of an Environment subclass")
    if found.name != name:
        raise ValueError(f"{where} exposes an environment named {found.name!r}; both names must be {name!r}")
    return found
