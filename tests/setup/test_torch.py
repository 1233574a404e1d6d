"""Which torch `make` takes, from which index, and what it says: the real Makefile on indexes of dummy wheels."""

import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from support.dummy_index import add_torch, add_wheel
from support.offline_make import UNREACHABLE, run_make
from support.paths import ROOT

pytestmark = pytest.mark.slow

VERSION = re.search(r"^TORCH = torch==(\S+)$", (ROOT / "Makefile").read_text(), re.M).group(1)


class Machine:
    """A machine with an empty virtual environment, a default index and PyTorch's CPU index, all in one folder."""

    def __init__(self, folder: Path, bare_environment: Path) -> None:
        self.venv = folder / "venv"
        shutil.copytree(bare_environment, self.venv, symlinks=True)
        self.default, self.pytorch, self.other = folder / "default", folder / "pytorch", folder / "other"
        add_torch(self.default, VERSION, "13.0", requires=("nvidia-dummy",))
        add_wheel(self.default, "nvidia-dummy", "1.0", {"nvidia_dummy.py": ""})
        add_torch(self.pytorch, f"{VERSION}+cpu", None)
        add_torch(self.other, f"{VERSION}+cu130", "13.0")

    def make_torch(self, cpu_index: str, torch_index: str = "", **pip: str) -> subprocess.CompletedProcess[str]:
        """Run the Makefile's torch step; `pip` are further settings of pip's, as in its environment variables."""
        arguments = [f"VENV={self.venv}", f"TORCH_CPU_INDEX={cpu_index}", f"{self.venv}/.torch"]
        if torch_index:
            arguments.append(f"TORCH_INDEX={torch_index}")
        return run_make(ROOT, *arguments, default_index=self.default, **pip)

    def installed(self) -> str:
        """Return the version of the torch that is installed, as torch itself says it."""
        code = "import torch; print(torch.__version__)"
        return subprocess.run([self.venv / "bin/python", "-c", code], capture_output=True, text=True).stdout.strip()


@pytest.fixture
def machine(tmp_path, bare_environment):
    return Machine(tmp_path, bare_environment)


def test_takes_the_cpu_build_where_pytorchs_index_can_be_reached(machine):
    done = machine.make_torch(cpu_index=machine.pytorch.as_uri())

    assert done.returncode == 0, done.stderr
    assert machine.installed() == f"{VERSION}+cpu"
    assert f"torch {VERSION}+cpu is installed, a build for the CPU" in done.stdout


def test_takes_the_default_indexs_cuda_build_where_pytorchs_cannot_be_reached(machine):
    done = machine.make_torch(cpu_index=UNREACHABLE)

    assert done.returncode == 0, done.stdout + done.stderr
    assert machine.installed() == VERSION
    assert f"{UNREACHABLE} cannot be reached or has no torch=={VERSION}" in done.stdout
    assert f"torch {VERSION} is installed, a build for CUDA 13.0" in done.stdout
    assert "it runs on the CPU as well" in done.stdout


def test_a_cuda_build_gets_the_packages_it_needs(machine):
    machine.make_torch(cpu_index=UNREACHABLE)

    assert list(machine.venv.glob("lib/*/site-packages/nvidia_dummy.py"))


def test_an_index_that_holds_torch_alone_is_enough(machine):
    add_torch(machine.other, f"{VERSION}+mine", None, requires=("nvidia-dummy",))
    done = machine.make_torch(cpu_index=UNREACHABLE, torch_index=machine.other.as_uri())

    assert done.returncode == 0, done.stdout + done.stderr
    assert machine.installed() == f"{VERSION}+mine"
    assert list(machine.venv.glob("lib/*/site-packages/nvidia_dummy.py"))


def test_an_index_that_never_answers_costs_seconds(machine):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = machine.make_torch(cpu_index=f"http://127.0.0.1:{silent.getsockname()[1]}/whl/cpu")

    assert done.returncode == 0, done.stdout + done.stderr
    assert machine.installed() == VERSION


def test_a_cpu_build_that_lies_on_the_disk_is_taken_without_waiting_for_an_index(machine):
    done = machine.make_torch(cpu_index=UNREACHABLE, PIP_FIND_LINKS=str(machine.pytorch / "torch"))

    assert done.returncode == 0, done.stdout + done.stderr
    assert machine.installed() == f"{VERSION}+cpu"
    assert f"{UNREACHABLE} cannot be reached" in done.stdout
    assert "Retrying" not in done.stdout + done.stderr


def test_says_the_size_before_it_downloads(machine):
    done = machine.make_torch(cpu_index=UNREACHABLE)

    said = done.stdout.index("GB")
    assert said < done.stdout.index("Successfully installed")


def test_a_changed_torch_index_reinstalls(machine):
    machine.make_torch(cpu_index=UNREACHABLE)
    done = machine.make_torch(cpu_index=UNREACHABLE, torch_index=machine.pytorch.as_uri())

    assert done.returncode == 0, done.stdout + done.stderr
    assert machine.installed() == f"{VERSION}+cpu"

    machine.make_torch(cpu_index=UNREACHABLE, torch_index=machine.other.as_uri())
    assert machine.installed() == f"{VERSION}+cu130"


def test_without_torch_index_what_is_installed_stays(machine):
    machine.make_torch(cpu_index=machine.pytorch.as_uri(), torch_index=machine.other.as_uri())
    done = machine.make_torch(cpu_index=machine.pytorch.as_uri())

    assert machine.installed() == f"{VERSION}+cu130"
    assert "up to date" in done.stdout


def test_the_same_torch_index_installs_once(machine):
    machine.make_torch(cpu_index=UNREACHABLE, torch_index=machine.other.as_uri())
    done = machine.make_torch(cpu_index=UNREACHABLE, torch_index=machine.other.as_uri())

    assert "up to date" in done.stdout


def test_a_torch_index_that_fails_is_named_and_leaves_the_old_torch(machine):
    machine.make_torch(cpu_index=machine.pytorch.as_uri())
    done = machine.make_torch(cpu_index=machine.pytorch.as_uri(), torch_index="http://127.0.0.1:9/mine")

    assert done.returncode != 0
    assert "http://127.0.0.1:9/mine" in done.stderr
    assert machine.installed() == f"{VERSION}+cpu"


def test_a_torch_that_was_there_before_the_makefile_is_kept(machine):
    machine.make_torch(cpu_index=machine.pytorch.as_uri())
    (machine.venv / ".torch").unlink()
    done = machine.make_torch(cpu_index=UNREACHABLE)

    assert done.returncode == 0, done.stdout + done.stderr
    assert machine.installed() == f"{VERSION}+cpu"
