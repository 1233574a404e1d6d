"""`make quickstart` and `make test` from an empty folder to their end, with the Makefile and build file as they are.

The packages are dummies on an index in a folder, whose torch claims to be a CUDA build; PyTorch's own index cannot be
reached. What is looked at is the order of the steps and what is said, not the training.
"""

import re
import sys
from types import SimpleNamespace

import pytest
from support.dummy_index import add_wheel
from support.dummy_project import make_dummy_project
from support.offline_make import UNREACHABLE, run_make
from support.paths import ROOT

from wapo_verl.cpu import check_machine

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A fresh clone and an index; both are written into by one test after the other."""
    folder = tmp_path_factory.mktemp("machine")
    clone, index = folder / "clone", folder / "index"
    make_dummy_project(clone, index)
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
    assert "1.1 GB of downloads, 4.1 GB of disk (3.6 and 7.1 where torch comes as a CUDA build)" in before
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
        "__main__.py ran ['-m', 'ray and not nightly', ",
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
    old = "import runpy, sys; sys.version_info = (3, 10, 1); runpy.run_path(sys.argv[1], run_name='__main__')"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{old}" "$2"\n')
    python.chmod(0o755)
    done = run_make(ROOT, "install", f"PYTHON={python}", f"VENV={tmp_path}/venv", default_index=tmp_path)

    assert done.returncode != 0
    assert "this is Python 3.10, 3.11 or 3.12 is needed: make PYTHON=python3.11 ..." in done.stderr
    assert not (tmp_path / "venv").exists()


def test_another_machine_is_refused_and_a_missing_library_named(monkeypatch):
    monkeypatch.setattr(check_machine.platform, "machine", lambda: "aarch64")
    (refusal,) = check_machine.refusals()
    assert refusal.startswith("this is Linux aarch64")

    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(check_machine.ctypes, "CDLL", missing)
    assert "apt-get install libnuma1" in check_machine.warnings()[0]


def test_a_full_disk_is_named(monkeypatch):
    monkeypatch.setattr(check_machine.shutil, "disk_usage", lambda folder: SimpleNamespace(free=2e9))
    assert check_machine.warnings() == ["only 2.0 GB of disk are free here, and the set-up may need 8"]
