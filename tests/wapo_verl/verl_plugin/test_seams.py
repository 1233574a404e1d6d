"""The list of veRL's names: it holds for the installed veRL, and it is whole. No GPU, no Ray, no vLLM."""

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
import verl
from support.paths import ROOT

from wapo_verl.verl_plugin import seams
from wapo_verl.verl_plugin.patches import PATCHES
from wapo_verl.verl_plugin.seam import Seam
from wapo_verl.verl_plugin.verl_source import VerlSource

INSTALLED = Path(verl.__file__).parent
SOURCE = VerlSource(INSTALLED)
EVERY = sorted({seam for listed in seams.SEAMS.values() for seam in listed}, key=lambda seam: (seam.module, seam.name))
NAMES = {(seam.module, seam.name) for seam in EVERY}
NEEDS_VLLM = "verl.workers.rollout.vllm_rollout"
OURS = sorted(file for file in (ROOT / "wapo_verl").rglob("*.py"))
LOOKS_AROUND = ("cli/doctor.py",)
"""Files that import veRL to look at it, and not for a run."""


def of_verl(module: str | None) -> bool:
    return (module or "").split(".")[0] == "verl"


def test_the_installed_verl_is_the_one_they_were_read_in() -> None:
    assert verl.__version__ == seams.VERSION


@pytest.mark.parametrize("feature", seams.SEAMS)
def test_every_seam_fits_the_installed_verl(feature: str) -> None:
    """The contract: where this fails, upstream has moved, and a run that needs the feature would be refused."""
    assert seams.misfits(feature, VerlSource(INSTALLED)) == []


@pytest.mark.parametrize("module", sorted({seam.module for seam in EVERY if not seam.module.startswith(NEEDS_VLLM)}))
def test_the_source_says_what_python_finds(module: str) -> None:
    """Reading veRL's source without importing it gives the signatures that importing it gives."""
    loaded = importlib.import_module(module)
    for seam in (seam for seam in EVERY if seam.module == module and seam.parameters):
        found = loaded
        for part in seam.name.split("."):
            found = inspect.getattr_static(found, part)
        function = getattr(found, "__func__", getattr(found, "fget", None) or found)
        parameters = inspect.signature(inspect.unwrap(function)).parameters.values()
        stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
        expected = tuple(
            (stars.get(each.kind, "") + each.name, each.kind in stars or each.default is not inspect.Parameter.empty)
            for each in parameters
            if each.name != "_ray_trace_ctx"  # which Ray adds to an actor's methods
        )
        assert SOURCE.parameters(seam.module, seam.name) == expected, seam.name


def imports() -> Iterator[tuple[str, str, str]]:
    """Yield (file, module, name) for every name of veRL's that our source imports."""
    for file in OURS:
        if str(file.relative_to(ROOT / "wapo_verl")) in LOOKS_AROUND:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and of_verl(node.module):
                for each in node.names:
                    yield str(file.relative_to(ROOT)), str(node.module), each.name


def test_every_name_that_is_imported_is_listed() -> None:
    missing = {f"{file} imports {module}.{name}" for file, module, name in imports() if (module, name) not in NAMES}
    assert not missing, "add these to wapo_verl/verl_plugin/seams.py: " + "; ".join(sorted(missing))


def test_every_patched_function_is_listed_as_replaced() -> None:
    replaced = {(seam.module, seam.name) for seam in EVERY if seam.replaced}
    patched = {(patch.module, patch.function) for patch in PATCHES} - {("verl.utils", "validate_config")}
    assert patched <= replaced


def our_subclasses() -> Iterator[tuple[type, ast.ClassDef, list[type]]]:
    """Yield each of our classes that has one of veRL's among its bases, with its source and those bases."""
    for file in OURS:
        tree = ast.parse(file.read_text())
        takes = any(isinstance(node, ast.ImportFrom) and of_verl(node.module) for node in ast.walk(tree))
        if not takes or file.name == "vllm_worker.py":
            continue
        module = importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
        for node in (node for node in tree.body if isinstance(node, ast.ClassDef)):
            made = getattr(module, node.name)
            bases = [base for base in made.__mro__ if of_verl(base.__module__)]
            if bases:
                yield made, node, bases


def test_every_overridden_member_is_listed_as_replaced() -> None:
    replaced = {seam.name for seam in EVERY if seam.replaced}
    missing = {
        f"{made.__name__} overrides {base.__name__}.{name}"
        for made, _, bases in our_subclasses()
        for name, value in vars(made).items()
        if callable(getattr(value, "__func__", value)) or isinstance(value, property)
        for base in [next((base for base in bases if name in vars(base)), None)]
        if base is not None and f"{base.__name__}.{name}" not in replaced
    }
    assert not missing, "add these to wapo_verl/verl_plugin/seams.py, under replaced: " + "; ".join(sorted(missing))


def test_every_member_that_our_subclasses_use_is_listed() -> None:
    listed = {seam.name for seam in EVERY}
    missing = set()
    for made, node, bases in our_subclasses():
        own = {name for base in made.__mro__ if base.__module__.startswith("wapo_verl.") for name in vars(base)}
        for name in _used_on_self(node) - own:
            owners = [
                base for base in bases if SOURCE.parameters(base.__module__, f"{base.__name__}.{name}") is not None
            ]
            if owners and not any(f"{base.__name__}.{name}" in listed for base in owners):
                missing.add(f"{made.__name__} uses {owners[-1].__name__}.{name}")
    assert not missing, "add these to wapo_verl/verl_plugin/seams.py: " + "; ".join(sorted(missing))


def _used_on_self(node: ast.ClassDef) -> set[str]:
    def is_self(value: ast.expr) -> bool:
        called = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "super"
        return called or (isinstance(value, ast.Name) and value.id == "self")

    return {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute) and is_self(each.value)}


@pytest.fixture
def small_verl(tmp_path: Path) -> VerlSource:
    """A package with one of each kind of definition."""
    (tmp_path / "part").mkdir()
    (tmp_path / "__init__.py").touch()
    (tmp_path / "part" / "__init__.py").write_text("from .inner import *\nfrom .inner import Base as Renamed\n")
    (tmp_path / "part" / "inner.py").write_text(
        "from torch import Tensor\n"
        "try:\n    import ray\nexcept ImportError:\n    ray = None\n"
        "LIMIT: int = 3\n"
        "def free(a, /, b=1, *rest, c, d=2, **more): ...\n"
        "class Base:\n"
        "    field: int = 0\n"
        "    def __init__(self, config): self.config = config\n"
        "    async def step(self, batch): ...\n"
    )
    (tmp_path / "user.py").write_text("from verl.part import Renamed\nclass Child(Renamed):\n    def own(self): ...\n")
    return VerlSource(tmp_path)


@pytest.mark.parametrize(
    ("module", "name", "expected"),
    [
        (
            "verl.part.inner",
            "free",
            (("a", False), ("b", True), ("*rest", True), ("c", False), ("d", True), ("**more", True)),
        ),
        (
            "verl.part",
            "free",
            (("a", False), ("b", True), ("*rest", True), ("c", False), ("d", True), ("**more", True)),
        ),
        ("verl.part.inner", "LIMIT", ()),
        ("verl.part.inner", "Tensor", ()),
        ("verl.part.inner", "ray", ()),
        ("verl.part", "inner", ()),
        ("verl.part", "Renamed.step", (("self", False), ("batch", False))),
        ("verl.user", "Child.own", (("self", False),)),
        ("verl.user", "Child.step", (("self", False), ("batch", False))),
        ("verl.user", "Child.config", ()),
        ("verl.user", "Child.field", ()),
        ("verl.user", "Child.gone", None),
        ("verl.user", "Gone", None),
        ("verl.gone", "anything", None),
    ],
)
def test_names_are_found_in_the_source(small_verl: VerlSource, module: str, name: str, expected: object) -> None:
    assert small_verl.parameters(module, name) == expected


@pytest.mark.parametrize(
    ("parameters", "replaced", "said"),
    [
        ("self, batch", True, None),
        ("self, batch", False, None),
        ("self, batch, metrics", False, "does not take metrics"),
        ("self", True, "takes beside them batch"),
        ("self", False, "takes beside them batch"),
        ("batch, self", False, "takes its parameters in another order"),
        ("", False, None),
    ],
)
def test_a_misfit_is_named(small_verl: VerlSource, parameters: str, replaced: bool, said: str | None) -> None:
    found = Seam("verl.user", "Child.step", parameters, replaced).misfit(small_verl)
    assert found == (said and f"verl.user.Child.step {said}")


def test_one_more_parameter_with_a_default_is_no_misfit_where_we_only_call(small_verl: VerlSource) -> None:
    called = Seam("verl.part.inner", "free", "a, b=, *rest, c")
    assert called.misfit(small_verl) is None
    assert Seam("verl.part.inner", "free", called.parameters, replaced=True).misfit(small_verl) == (
        "verl.part.inner.free takes beside them d, **more"
    )
