"""Writes a new environment's folder out of the templates. It overwrites nothing."""

from __future__ import annotations

import keyword
import os
import re
import shlex
import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from wapo_verl.environments import registry

DEFAULT_FOLDER = "environments"
SAMPLES = {"math": ("train", "test"), "retrieval": ("train", "test", "documents")}
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Made:
    """A new environment: its files, whether the registry finds it, and what WAPO_ENVIRONMENTS has to be for that."""

    files: tuple[Path, ...]
    is_found: bool
    variable: str


def make(name: str, kind: str, path: Path | None = None) -> Made:
    """Write the environment ``path/name``.

    Args:
        name: of the environment, and its folder.
        kind: a key of ``SAMPLES``.
        path: the folder that holds it, made where it is not there; by default the first that WAPO_ENVIRONMENTS names,
            else ``./environments``.

    Raises:
        ValueError: for a name that cannot be, or that is taken.
        OSError: when the folder cannot be written.
    """
    check_name(name)
    parent = (path or next(iter(registry.folders()), Path(DEFAULT_FOLDER))).absolute()
    folder = parent / name
    if folder.exists():
        raise ValueError(f"{folder} is there already; choose another name, or remove it")
    parent.mkdir(parents=True, exist_ok=True)
    contents = _contents(name, kind)
    with tempfile.TemporaryDirectory(prefix=".new-env-", dir=parent) as staging:
        for file, text in contents.items():
            target = Path(staging) / name / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        (Path(staging) / name).rename(folder)
    registry.forget()
    places = (*registry.folders(), parent)
    return Made(
        files=tuple(folder / file for file in contents),
        is_found=name in registry.names(),
        variable=shlex.quote(os.pathsep.join(map(str, places))),
    )


def check_name(name: str) -> None:
    """Raise ValueError for a name that no environment can have, or one has."""
    if keyword.iskeyword(name):
        raise ValueError(f"{name!r} is a word of Python's own and cannot name an environment; choose another name")
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot name an environment: take small letters, digits and _, a letter first, as in word_sums"
        )
    if name in registry.names():
        raise ValueError(f"there is an environment {name!r} already; choose another name")


def _contents(name: str, kind: str) -> dict[str, str]:
    """Return the files: path inside the folder -> text."""
    templates = resources.files("wapo_verl.env_tools.templates")
    code = (templates / f"{kind}_environment.txt").read_text(encoding="utf-8")
    # With the suffix, so that no name shadows what the code imports: `fraction`, `example`, `none`.
    title = "".join(word.capitalize() for word in name.split("_") if word) + "Environment"
    samples = {
        f"sample/{sample}.jsonl": (templates / f"{kind}_{sample}.jsonl").read_text(encoding="utf-8")
        for sample in SAMPLES[kind]
    }
    return {"__init__.py": code.replace("__NAME__", name).replace("__CLASS__", title), **samples}
