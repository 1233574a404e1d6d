"""What people expect of a project is there, and says the same everywhere: versions, help, packaged files. No GPU."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from support.paths import ROOT
from support.pins import pins

from wapo_verl.verl_plugin import seams


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_version_stands_in_one_place() -> None:
    version = project()["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == version
    assert citation["license"] == project()["license"]
    assert re.search(rf"^## \[{re.escape(version)}\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_one_verl_is_named_everywhere() -> None:
    (least,) = [text for text in project()["dependencies"] if text.startswith("verl")]
    assert Requirement(least).specifier.contains(seams.VERSION)
    assert f"verl=={seams.VERSION}" in project()["optional-dependencies"]["cpu"]
    assert pins("cpu-stack.txt")["verl"] == seams.VERSION


def test_pre_commit_runs_the_pinned_tools() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = {hook["id"]: hook for repo in config["repos"] for hook in repo["hooks"]}
    pinned = f"ruff=={pins('dev-stack.txt')['ruff']}"
    assert hooks["ruff-check"]["additional_dependencies"] == [pinned]
    assert hooks["ruff-format"]["additional_dependencies"] == [pinned]
    assert hooks["mypy"]["entry"] == ".venv/bin/mypy"
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert lint is not None
    assert re.findall(r"\$\(BIN\)/(.+)", lint[1]) == ["ruff check .", "ruff format --check .", "mypy"]


def test_help_names_every_target() -> None:
    (phony,) = re.findall(r"^\.PHONY: (help .*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"make ([a-z0-9-]+)", shown)) == set(phony.split()) - {"help"}


@pytest.mark.slow
def test_the_wheel_has_the_licence_types_and_environments(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, "."]
    subprocess.run(command, cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"wapo_verl/py.typed", "retrieval_index/py.typed"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "wapo_verl/environments/builtin/ottqa/__init__.py" in names
    assert not [name for name in names if name.split("/")[0] in ("envs", "tests", "examples", "benchmarks", "docs")]


def test_every_folder_with_code_is_a_package_that_is_installed() -> None:
    files = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    folders = {str(Path(file).parent) for file in files.split() if file.startswith(("wapo_verl/", "retrieval_index/"))}
    assert [folder for folder in sorted(folders) if not (ROOT / folder / "__init__.py").is_file()] == []
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert {*listed} - {"wapo_verl.environments.builtin"} == {folder.replace("/", ".") for folder in folders}


def test_converted_rooms_have_their_docstrings_checked() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    ignored = {path for path, rules in lint["per-file-ignores"].items() if rules == ["D"]} - {
        "tests/**",
        "benchmarks/**",
    }
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--line-length=120",
        "--output-format=json",
        "--select=D,D401",
    ]
    options = [
        f"--ignore={','.join(rule for rule in lint['ignore'] if rule[0] == 'D')}",
        "--config",
        'lint.pydocstyle.convention="google"',
    ]
    for pattern in sorted(ignored):
        files = [file for file in ROOT.glob(pattern + "/*.py" if pattern.endswith("**") else pattern) if file.is_file()]
        done = subprocess.run([*command, *options, *files], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 1, f"{pattern} has no fault left: take it out of pyproject.toml's per-file-ignores"
