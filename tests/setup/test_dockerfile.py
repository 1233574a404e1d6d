"""The Dockerfile's steps, run outside Docker: in an empty folder, with the programs that its base image has.

There are no packages but the dummies of an index in a folder, and `apt-get install` puts a program where the image has
it, so a step that needs a program or a file that no earlier step brought fails here as it would there.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.dummy_project import make_dummy_project
from support.offline_make import UNREACHABLE
from support.paths import ROOT

pytestmark = pytest.mark.slow

DOCKERFILE = ROOT / "examples" / "docker" / "Dockerfile"
IN_THE_IMAGE = (
    "bash",
    "basename",
    "cat",
    "chmod",
    "cp",
    "dirname",
    "echo",
    "env",
    "ls",
    "mkdir",
    "mktemp",
    "rm",
    "sh",
    "touch",
)
APT_GET = """#!/bin/bash
for word in "$@"; do case $word in make) /bin/ln -s "$REAL_MAKE" "$IMAGE/make";; libnuma1|update|install|-*) ;;
  *) echo "no package $word in this image" >&2; exit 100;; esac; done
"""


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions, comments and continued lines resolved."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in text.splitlines() if line.strip()]


class Container:
    """What `docker build` would make, in a folder: the instructions are carried out one after the other."""

    def __init__(self, folder: Path, context: Path, index: Path) -> None:
        self.root, self.context, self.workdir = folder / "root", context, folder / "root"
        image = folder / "image"
        image.mkdir(parents=True)
        for name in IN_THE_IMAGE:
            (image / name).symlink_to(shutil.which(name) or "/missing")
        (image / "python3").symlink_to(sys._base_executable)
        (image / "apt-get").write_text(APT_GET)
        (image / "apt-get").chmod(0o755)
        self.environment = {
            "PATH": str(image),
            "IMAGE": str(image),
            "REAL_MAKE": str(shutil.which("make")),
            "HOME": str(folder),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": index.as_uri(),
            "TORCH_CPU_INDEX": UNREACHABLE,
        }
        self.ignored = (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().split()

    def build(self, steps: list[tuple[str, str]]) -> str:
        """Carry out the instructions; return what they printed."""
        return "".join(getattr(self, f"do_{name.lower()}")(arguments) for name, arguments in steps)

    def left_out(self, folder: str, names: list[str]) -> set[str]:
        """Return those names of a folder of the context that the .dockerignore leaves out, as Docker reads it."""
        here = Path(folder).relative_to(self.context)
        return {name for name in names if f"**/{name}" in self.ignored or str(here / name) in self.ignored}

    def do_from(self, arguments: str) -> str:
        (minor,) = re.findall(r"^python:3\.(\d+)-slim", arguments)
        assert int(minor) in (11, 12)
        self.root.mkdir()
        return ""

    def do_workdir(self, arguments: str) -> str:
        self.workdir = self.root / arguments.lstrip("/")
        self.workdir.mkdir(parents=True)
        return ""

    def do_copy(self, arguments: str) -> str:
        source, target = arguments.split()
        origin, copy = self.context / source, self.workdir / target
        if origin.is_dir():
            shutil.copytree(origin, copy, dirs_exist_ok=True, ignore=self.left_out)
        else:
            shutil.copy(origin, copy)
        return ""

    def do_run(self, arguments: str) -> str:
        shell = arguments.replace("/var/lib/apt", str(self.root / "var/lib/apt"))
        done = subprocess.run(
            ["sh", "-c", shell], cwd=self.workdir, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"RUN {arguments}\n{done.stdout}{done.stderr}"
        return done.stdout

    def do_cmd(self, arguments: str) -> str:
        return self.do_run(" ".join(re.findall(r'"([^"]+)"', arguments)))


def container(folder: Path) -> Container:
    """Return the start of a build, in whose context the host's own virtual environment lies."""
    make_dummy_project(folder / "context", folder / "index")
    hosts_own = folder / "context" / ".venv" / "bin"
    hosts_own.mkdir(parents=True)
    (hosts_own / "python").write_text("the host's, which does not run in the image")
    return Container(folder / "docker", folder / "context", folder / "index")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """What the build printed: before the step that copies the code, and from it to the quickstart."""
    docker, steps = container(tmp_path_factory.mktemp("build")), instructions()
    code = steps.index(("COPY", ". ./"))
    return docker.build(steps[:code]), docker.build(steps[code:])


def test_the_image_builds_and_starts_the_quickstart(built):
    assert "trained with torch 2.13.0" in built[1]


def test_a_change_of_the_code_downloads_nothing_again(built):
    packages, code = built
    assert re.findall(r"set-up (\d)/4", packages) == ["1", "2", "3"]
    assert re.findall(r"set-up (\d)/4", code) == ["4"]


@pytest.mark.parametrize("missing", ["make libnuma1", "COPY wapo_verl/cpu/ wapo_verl/cpu/"])
def test_a_missing_step_is_noticed(tmp_path, missing):
    text = "\n".join(f"{name} {arguments}" for name, arguments in instructions())
    steps = [tuple(line.split(" ", 1)) for line in text.replace(missing, "").splitlines() if line.strip()]
    assert steps != instructions()
    with pytest.raises(AssertionError, match="RUN make install-stack"):
        container(tmp_path).build(steps)


def test_what_the_host_has_built_stays_out(tmp_path):
    docker = container(tmp_path)
    assert {".venv", ".git", "runs"} <= docker.left_out(str(docker.context), [".venv", ".git", "runs", "wapo_verl"])
    assert docker.left_out(str(docker.context / "retrieval_index"), ["build"]) == set()
