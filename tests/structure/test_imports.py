"""The rooms of the project and who may import whom, held against the source. No GPU, nothing is imported.

A room is a top-level folder, or a folder (or file) of `wapo_verl/`. `ROOMS` is the order of those, `RULES` are the
sentences that a forbidden import fails with.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from support.import_graph import ENVIRONMENTS, Import, circles, draw, imports_of, longest_chain, read_modules
from support.paths import ROOT

INSTALLED = ("wapo_verl", "envs", "retrieval_index")
NOT_INSTALLED = ("examples", "benchmarks", "tests")

ROOMS: dict[str, str] = {
    "cli": "the commands",
    "viewer": "shows records in a browser",
    "estimate": "says what memory and time a run needs",
    "verl_plugin": "connects the rooms below it to veRL",
    "settings": "reads and decides a run's settings, with the models that lie beside each feature",
    "training": "the trainer: it obeys decisions",
    "engine": "computes an update by the plan it is given",
    "evaluation": "tells what a model can do and whether another can do more",
    "env_tools": "checks, plays and makes environments",
    "rollout": "plays episodes in a run",
    "reward": "what veRL calls to score an episode",
    "metrics": "pure numbers of a step",
    "data": "makes files of an environment's rows",
    "guard": "watches numbers; how they are made is not its business",
    "environments": "what an environment is made of",
    "watch": "ends a run that has lost a process",
    "cpu": "the CPU as a platform of veRL",
    "taxonomy": "pure functions on tensors",
    "algorithms": "pure functions on tensors",
    "check": "one line of a report",
    "say": "one line of a run's output",
}
"""The rooms of `wapo_verl/`, from the top to the bottom: each may import those below it."""

FLOORS = 10
"""The most rooms of `wapo_verl/` in a chain in which each imports the next."""

KNOWN: set[Import] = set()
"""Forbidden imports that are still there. Take an entry out together with its import; never add one."""

KNOWN_ROOMS: set[str] = set()
"""Folders of `wapo_verl/` that are still there but are no room."""


@dataclass(frozen=True)
class Rule:
    """A sentence, and the imports it forbids."""

    sentence: str
    forbids: Callable[[Import], bool]


def room(module: str) -> str:
    """Return the room of a module: "wapo_verl.cli", "envs", "retrieval_index"; for others' packages their own name."""
    if module.startswith(f"{ENVIRONMENTS}."):
        return "envs"
    first, *rest = module.split(".")
    return f"wapo_verl.{rest[0]}" if first == "wapo_verl" and rest else first


def is_ours(name: str) -> bool:
    return name.split(".")[0] in (*INSTALLED, *NOT_INSTALLED)


def is_above(upper: str, lower: str) -> bool:
    """Tell whether both are rooms of `wapo_verl/` and the first stands above the second."""
    order = [f"wapo_verl.{name}" for name in ROOMS]
    return upper in order and lower in order and order.index(upper) < order.index(lower)


def in_room(edge: Import, *names: str) -> bool:
    return room(edge.importer) in names


def beside_torch(edge: Import) -> bool:
    other = room(edge.imported)
    return other != room(edge.importer) and other != "torch" and other not in sys.stdlib_module_names


RULES = (
    Rule(
        "A room of wapo_verl/ imports only rooms that stand below it in ROOMS.",
        lambda edge: is_above(room(edge.imported), room(edge.importer)),
    ),
    Rule(
        "Nothing that is installed imports examples/, benchmarks/ or tests/: a user does not have them.",
        lambda edge: room(edge.importer) not in NOT_INSTALLED and room(edge.imported) in NOT_INSTALLED,
    ),
    Rule(
        "algorithms/ and taxonomy/ import torch alone, so that they can be read and used without the rest.",
        lambda edge: in_room(edge, "wapo_verl.algorithms", "wapo_verl.taxonomy") and beside_torch(edge),
    ),
    Rule(
        "environments/ imports neither veRL nor torch, and of ours retrieval_index alone: it runs without a trainer.",
        lambda edge: (
            in_room(edge, "wapo_verl.environments")
            and room(edge.imported) != "wapo_verl.environments"
            and (edge.imported in ("verl", "torch", "ray", "vllm") or is_ours(edge.imported))
            and room(edge.imported) != "retrieval_index"
        ),
    ),
    Rule(
        "env_tools/ imports neither veRL nor torch: an environment can be checked on any machine.",
        lambda edge: in_room(edge, "wapo_verl.env_tools") and edge.imported in ("verl", "torch", "ray", "vllm"),
    ),
    Rule(
        "An environment in envs/ imports wapo_verl.environments and retrieval_index and nothing else of ours.",
        lambda edge: (
            in_room(edge, "envs")
            and (edge.imported in ("verl", "torch", "ray", "vllm") or is_ours(edge.imported))
            and room(edge.imported) not in ("envs", "wapo_verl.environments", "retrieval_index")
        ),
    ),
    Rule(
        "Installed code imports no environment by its name: adding one is adding a folder.",
        lambda edge: (
            room(edge.importer) not in NOT_INSTALLED
            and room(edge.imported) == "envs"
            and edge.importer.split(".")[:4] != edge.imported.split(".")[:4]
        ),
    ),
    Rule(
        "Nobody imports `envs`, a name that a user's own folder may have: take wapo_verl.environments.installed.NAME.",
        lambda edge: edge.imported == "envs",
    ),
    Rule(
        "retrieval_index/ imports nothing of ours: it can be used by itself.",
        lambda edge: (
            in_room(edge, "retrieval_index") and is_ours(edge.imported) and room(edge.imported) != "retrieval_index"
        ),
    ),
    Rule(
        "wapo_verl/__init__.py imports nothing, so that importing one room does not load another.",
        lambda edge: edge.importer == "wapo_verl",
    ),
)


def broken(edge: Import) -> list[str]:
    """Return the sentences of the rules that an import breaks."""
    return [rule.sentence for rule in RULES if rule.forbids(edge)]


@pytest.fixture(scope="module")
def edges() -> set[Import]:
    return draw(read_modules(ROOT, (*INSTALLED, *NOT_INSTALLED)))


def test_every_import_keeps_the_rules(edges: set[Import]) -> None:
    faults = [
        f"{edge.importer} imports {edge.imported}: {sentence}"
        for edge in sorted(edges - KNOWN)
        for sentence in broken(edge)
    ]
    assert not faults, "\n".join(faults)


def test_no_circle_of_modules(edges: set[Import]) -> None:
    assert not circles(edges - KNOWN), "Modules import one another in a circle: move what they share below both."


def test_known_faults_are_still_there(edges: set[Import]) -> None:
    in_circles = [set(group) for group in circles(edges)]
    gone = [
        edge
        for edge in sorted(KNOWN)
        if edge not in edges
        or not (broken(edge) or any({edge.importer, edge.imported} <= group for group in in_circles))
    ]
    assert not gone, f"these imports are gone, or allowed now: take them out of KNOWN: {gone}"


def test_every_folder_is_a_room() -> None:
    modules = read_modules(ROOT, ("wapo_verl",))
    there = {name.split(".")[1] for name in modules if "." in name}
    assert there - KNOWN_ROOMS == set(ROOMS), "give a new room its place and its sentence in ROOMS"
    assert there >= KNOWN_ROOMS, "take what is gone out of KNOWN_ROOMS"


def test_no_more_than_ten_floors(edges: set[Import]) -> None:
    rooms = {(room(edge.importer), room(edge.imported)) for edge in edges}
    chain = longest_chain((upper, lower) for upper, lower in rooms if is_above(upper, lower))
    assert 1 < len(chain) <= FLOORS, f"{len(chain)} floors: {' > '.join(chain)}"


@pytest.mark.parametrize(
    ("importer", "source", "sentence"),
    [
        ("wapo_verl.guard.rules", "def f():\n    from wapo_verl.training import trainer", "stand below it"),
        ("wapo_verl.rollout.chat", "HOOK = 'wapo_verl.cli.doctor.doctor'", "stand below it"),
        ("wapo_verl.engine.engine", "from benchmarks.study import run", "a user does not have them"),
        ("wapo_verl.algorithms.wapo", "import numpy as np", "torch alone"),
        ("wapo_verl.taxonomy.bins", "from wapo_verl.algorithms import wapo", "torch alone"),
        ("wapo_verl.environments.episode", "import torch.nn", "without a trainer"),
        ("wapo_verl.environments.episode", "from wapo_verl.algorithms import wapo", "without a trainer"),
        ("wapo_verl.env_tools.checks", "from verl.utils import config", "on any machine"),
        (f"{ENVIRONMENTS}.ottqa.official", "from wapo_verl import reward", "nothing else of ours"),
        (f"{ENVIRONMENTS}.ottqa.official", f"from {ENVIRONMENTS}.hotpotqa import rows", "adding a folder"),
        ("wapo_verl.cli.app", f"from {ENVIRONMENTS} import ottqa", "adding a folder"),
        ("tests.support.service", "import envs.ottqa", "a user's own folder"),
        ("retrieval_index.index", "from wapo_verl.data import manifest", "used by itself"),
        ("wapo_verl", "from wapo_verl.cli import app", "does not load another"),
    ],
)
def test_a_forbidden_import_fails_with_its_rule(importer: str, source: str, sentence: str) -> None:
    modules = read_modules(ROOT, (*INSTALLED, *NOT_INSTALLED))
    found = imports_of(importer, source, modules)
    assert [text for edge in found for text in broken(edge) if sentence in text]


def test_allowed_imports_break_no_rule() -> None:
    source = "import re\nimport torch\nfrom . import rows\nfrom retrieval_index.corpora import read_jsonl"
    modules = {"wapo_verl.engine.engine": 0, "wapo_verl.engine.rows": 0, "retrieval_index.corpora": 0}
    found = imports_of("wapo_verl.engine.engine", source, modules)
    assert {edge.imported for edge in found} == {"re", "torch", "wapo_verl.engine.rows", "retrieval_index.corpora"}
    assert not [text for edge in found for text in broken(edge)]


def test_a_circle_and_a_chain_are_seen() -> None:
    edges = {Import("a", "b"), Import("b", "c"), Import("c", "a"), Import("c", "d")}
    assert circles(edges) == [("a", "b", "c")]
    assert longest_chain([("a", "b"), ("b", "c"), ("a", "c"), ("c", "d")]) == ["a", "b", "c", "d"]
