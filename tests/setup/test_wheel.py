"""The built wheel: it holds every file of the packages, and works beside a veRL that was there before it.

The wheel is built from a copy of the tracked files, with one environment more, whose folder has a sub-package and data.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.dummy_index import add_wheel
from support.paths import ROOT, TESTS
from support.processes import as_code, found_in, hostile_folder
from support.ranks import write_tiny_model

BUILTIN = "wapo_verl/environments/builtin"
INSTALLED_AS = {"wapo_verl": "wapo_verl", "retrieval_index": "retrieval_index", "envs": BUILTIN}
NEW_ENVIRONMENT = {
    "envs/newcomer/__init__.py": "from .rules.scoring import ENVIRONMENT\n",
    "envs/newcomer/rules/__init__.py": "",
    "envs/newcomer/rules/scoring.py": "ENVIRONMENT = None\n",
    "envs/newcomer/sample/train/rows.csv": "question,answer\n",
    "envs/newcomer/sample/README": "no suffix\n",
}


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.splitlines() if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    checkout = folder / "checkout"
    for name in tracked():
        if name.split("/")[0] in INSTALLED_AS or "/" not in name:
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, checkout / name)
    for name, text in NEW_ENVIRONMENT.items():
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text(text)
    compiled = checkout / "envs" / "newcomer" / "__pycache__" / "left.cpython-311.pyc"
    compiled.parent.mkdir()
    compiled.write_bytes(b"what an import left behind")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, checkout]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def packed(wheel):
    return set(zipfile.ZipFile(wheel).namelist())


def test_every_tracked_file_of_the_packages_is_in_it(packed):
    of_the_set_up = re.compile(r"wapo_verl/cpu/[\w-]+\.(txt|toml)")
    shipped = [name for name in tracked() if name.split("/")[0] in INSTALLED_AS and not of_the_set_up.fullmatch(name)]
    places = {name: name.replace(top := name.split("/")[0], INSTALLED_AS[top], 1) for name in shipped}
    assert not {name for name, place in places.items() if place not in packed}


def test_the_package_list_names_every_room():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    sources = [Path(name) for name in tracked() if name.endswith(".py")]
    rooms = {path.parent for path in sources if path.parts[0] in ("wapo_verl", "retrieval_index")}
    assert {str(room).replace("/", ".") for room in rooms} == {*listed} - {"wapo_verl.environments.builtin"}


def test_a_new_environment_is_in_it_with_all_its_files(packed):
    assert {name.replace("envs", BUILTIN, 1) for name in NEW_ENVIRONMENT} <= packed


def test_nothing_else_is_in_it(packed):
    own = (*(f"{place}/" for place in INSTALLED_AS.values()), "wapo_verl-")
    assert not {name for name in packed if not name.startswith(own)}
    assert not {name for name in packed if "__pycache__" in name}


@pytest.fixture(scope="module")
def with_verl(wheel, bare_environment, tmp_path_factory):
    """A virtual environment that had veRL and its stack before (this one's), and in which the wheel was installed."""
    venv = tmp_path_factory.mktemp("user") / "venv"
    shutil.copytree(bare_environment, venv, symlinks=True)
    subprocess.run([venv / "bin/python", "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel], check=True)
    (packages,) = venv.glob("lib/*/site-packages")
    (packages / "stack.pth").write_text(str(Path(pytest.__file__).parents[1]))
    return venv


def run(venv: Path, folder: Path, *command: str, **variables: str) -> str:
    """Run a program of the environment in a folder of the user's; return what it printed."""
    kept = {name: value for name, value in os.environ.items() if name not in ("WAPO_ENVIRONMENTS", "PYTHONPATH")}
    settings = {**kept, "COLUMNS": "200", "NO_COLOR": "1", **variables}
    program = [str(venv / "bin" / command[0]), *command[1:]]
    done = subprocess.run(program, cwd=folder, env=settings, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_commands_start(with_verl, tmp_path):
    assert "check-env" in run(with_verl, tmp_path, "wapo-verl", "--help")
    assert "check-env" in run(with_verl, tmp_path, "python", "-m", "wapo_verl.cli", "--help")
    assert "serve" in run(with_verl, tmp_path, "python", "-m", "retrieval_index", "--help")


@pytest.mark.slow
def test_every_built_in_environment_reads_its_sample(with_verl, tmp_path):
    code = """
from pathlib import Path
from wapo_verl.environments.registry import environment, names
import wapo_verl
for name in set(names()) - {"newcomer"}:
    found = environment(name)
    rows = [next(iter(found.examples(split, found.sample_source()))) for split in found.splits]
    print(name, len(rows) == len(found.splits), Path(wapo_verl.__file__).parents[4].name)
"""
    printed = run(with_verl, tmp_path, "python", "-c", code).splitlines()
    built_in = {path.parent.name for path in (ROOT / "envs").glob("*/__init__.py")}
    assert len(built_in) >= 5
    assert {*printed} == {f"{name} True venv" for name in built_in}


@pytest.mark.slow
def test_a_users_environment_is_made_and_found(with_verl, tmp_path):
    (tmp_path / "mine").mkdir()
    run(with_verl, tmp_path, "wapo-verl", "new-env", "tally", WAPO_ENVIRONMENTS=str(tmp_path / "mine"))
    assert (tmp_path / "mine" / "tally" / "__init__.py").is_file()
    run(with_verl, tmp_path, "wapo-verl", "check-env", "tally", WAPO_ENVIRONMENTS=str(tmp_path / "mine"))


@pytest.mark.slow
def test_doctor_names_the_wheel_it_came_from(with_verl, tmp_path, wheel):
    code = "from wapo_verl.cli.doctor import reinstall; print(reinstall())"
    assert run(with_verl, tmp_path, "python", "-c", code).strip().endswith(wheel.name)


@pytest.mark.slow
def test_a_users_folders_and_another_envs_mislead_no_run(with_verl, tmp_path):
    """`envs/` as a package and PyPI's `envs` ended runs once: ours are imported under names of their own."""
    model = write_tiny_model(tmp_path / "model")
    (packages,) = with_verl.glob("lib/*/site-packages")
    (packages / "envs").mkdir(exist_ok=True)
    (packages / "envs" / "__init__.py").write_text("raise AssertionError('another package was imported')\n")
    everything, all_but_one = hostile_folder(tmp_path / "a"), hostile_folder(tmp_path / "b", retrieval_index=False)
    plain, ours = (as_code(TESTS / "support" / name) for name in ("plain_runs.py", "our_run.py"))

    found = found_in(run(with_verl, everything, "python", "-c", plain, str(model), "2", VERL_PLATFORM=""))
    assert not [
        outcome["raised"] for name, outcome in found["examples"].items() if name == "grpo" and outcome["raised"]
    ]
    assert {name.split(".")[1] for name in found["imported"] if "." in name} <= {"verl_plugin", "cpu"}

    asked = [str(model), "algorithm.adv_estimator=wapo"]
    found = found_in(run(with_verl, all_but_one, "python", "-c", ours, *asked, VERL_PLATFORM=""))
    built_in = {path.parent.name for path in (ROOT / "envs").glob("*/__init__.py")}
    assert built_in <= set(found["environments"])
    assert found["trainer"] == "wapo_sync"
    assert found["wapo_verl"].startswith(str(with_verl))


@pytest.mark.slow
@pytest.mark.parametrize("verl", ["0.9.0", "0.10.0.dev0", "0.9.1"])
def test_installing_it_keeps_the_verl_that_is_there(wheel, bare_environment, tmp_path, verl):
    venv, index = tmp_path / "venv", tmp_path / "index"
    shutil.copytree(bare_environment, venv, symlinks=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in project["dependencies"]:
        name, least = _least(requirement)
        add_wheel(index, name, verl if name == "verl" else least, {})
    pip = [str(venv / "bin/python"), "-m", "pip", "install", "--index-url", index.as_uri()]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    clean["PIP_CONFIG_FILE"] = os.devnull
    subprocess.run([*pip, "-q", f"verl=={verl}"], env=clean, check=True)
    for release in ("0.9.0", "0.9.1", "0.10.0"):
        add_wheel(index, "verl", release, {})
    done = subprocess.run([*pip, "--dry-run", wheel], env=clean, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
    (would,) = [line for line in done.stdout.splitlines() if line.startswith("Would install")]
    assert " wapo-verl-" in would or " wapo_verl-" in would
    assert " verl-" not in would


def _least(requirement: str) -> tuple[str, str]:
    """Return a requirement's normalised name, and a version that fulfils it."""
    parsed = Requirement(requirement)
    return canonicalize_name(parsed.name), next((one.version for one in parsed.specifier), "1.0")
