"""Paths and names that the documents mention are there. `make docs` checks their links. No GPU, nothing is imported."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from support.import_graph import read_modules
from support.paths import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
MODULES = read_modules(ROOT, ("wapo_verl", "envs", "retrieval_index", "examples", "benchmarks"))


def paths(text: str) -> set[str]:
    """What a page names in backticks that looks like a path of the checkout; a placeholder in capitals is none."""
    named = re.findall(
        r"`((?:wapo_verl|envs|retrieval_index|examples|benchmarks|tests|recipes|docs)/[\w./*-]*)[` ]", text
    )
    return {path for path in named if not re.search(r"[A-Z]{2}", path)}


def is_there(name: str) -> bool:
    """Tell whether a dotted name is a module of ours, or a name that a module defines."""
    if name in MODULES:
        return True
    module, _, last = name.rpartition(".")
    if module not in MODULES:
        return bool(module) and is_there(module)  # an attribute of a class
    tree = ast.parse(MODULES[module].read_text())
    defined = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    assigned = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        for alias in getattr(node, "names", ())
        if isinstance(alias, ast.alias)
    }
    return last in defined | assigned | imported


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    missing = {path for path in paths(text) if not list(ROOT.glob(path.rstrip("/")))}
    dotted = set(re.findall(r"`((?:wapo_verl|retrieval_index)(?:\.\w+)+)[`(]", text))
    missing |= {name for name in dotted if not re.search(r"[A-Z]{2}", name) and not is_there(name)}
    assert not missing


def test_a_name_that_is_not_there_is_seen() -> None:
    assert paths("see `wapo_verl/nowhere.py` and `envs/NAME/`") == {"wapo_verl/nowhere.py"}
    assert is_there("wapo_verl.algorithms.batch.Batch.from_keys")
    assert not is_there("wapo_verl.algorithms.batch.Nothing")
