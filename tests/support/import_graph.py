"""Draw the graph of imports from the source, without importing anything.

Every import of a file counts: at the top, inside a function, under `TYPE_CHECKING`. So does a string that is the dotted
name of one of our modules, or of something in it, because hooks and configurations import by such strings.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENTS = "wapo_verl.environments.installed"
"""The import name of the folder `envs/`."""

_DOTTED = re.compile(r"(wapo_verl|retrieval_index)(\.\w+)+")


@dataclass(frozen=True, slots=True, order=True)
class Import:
    """One import: a module of ours, and the dotted name it imports (a module of ours, or a package of others)."""

    importer: str
    imported: str


def read_modules(root: Path, folders: Iterable[str]) -> dict[str, Path]:
    """Return import name -> file of every module in these top-level folders; rows of `sample/` are no modules."""
    modules = {}
    for folder in folders:
        for file in sorted((root / folder).rglob("*.py")):
            path = file.relative_to(root)
            if "sample" in path.parts:
                continue
            parts = path.with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            name = ".".join(parts)
            modules[ENVIRONMENTS + name.removeprefix("envs") if parts[0] == "envs" else name] = file
    return modules


def imports_of(name: str, source: str, modules: Mapping[str, object], is_package: bool = False) -> set[Import]:
    """Return the imports of one file.

    Args:
        name: the file's import name.
        source: its text.
        modules: the known modules of ours, by import name; what is imported from one of them counts as that module.
        is_package: whether the file is an `__init__.py`, which relative imports start from.
    """
    package = name if is_package else name.rpartition(".")[0]
    wanted = {_nearest(target, modules) for target in _targets(ast.parse(source), package)}
    return {Import(name, target) for target in wanted if target not in ("", name)}


def draw(modules: Mapping[str, Path]) -> set[Import]:
    """Return the imports of all modules."""
    return {
        edge
        for name, file in modules.items()
        for edge in imports_of(name, file.read_text(), modules, file.name == "__init__.py")
    }


def circles(edges: Iterable[Import]) -> list[tuple[str, ...]]:
    """Return the groups of modules that reach one another, each sorted; a graph without circles has none."""
    reach = _reachable(edges)
    groups = {tuple(sorted(b for b in reach[a] if a in reach.get(b, ()))) for a in reach if a in reach[a]}
    return sorted(groups)


def longest_chain(edges: Iterable[tuple[str, str]]) -> list[str]:
    """Return the longest way through a graph without circles, from the node at its top to the one at its bottom."""
    below: dict[str, set[str]] = {}
    for upper, lower in edges:
        below.setdefault(upper, set()).add(lower)
    chains: dict[str, list[str]] = {}

    def chain(node: str) -> list[str]:
        if node not in chains:
            chains[node] = [node, *max((chain(lower) for lower in sorted(below.get(node, ()))), key=len, default=[])]
        return chains[node]

    return max((chain(node) for node in sorted(below)), key=len, default=[])


def _targets(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _DOTTED.fullmatch(node.value):
            yield node.value


def _nearest(target: str, modules: Mapping[str, object]) -> str:
    """Return the module of ours that holds the name, or the top-level package of a name of others."""
    name = target
    while name:
        if name in modules:
            return name
        name = name.rpartition(".")[0]
    return target.split(".")[0]


def _reachable(edges: Iterable[Import]) -> dict[str, set[str]]:
    direct: dict[str, set[str]] = {}
    for edge in edges:
        direct.setdefault(edge.importer, set()).add(edge.imported)
    reach = {}
    for start in direct:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for lower in direct.get(waiting.pop(), ()):
                if lower not in seen:
                    seen.add(lower)
                    waiting.append(lower)
        reach[start] = seen
    return reach
