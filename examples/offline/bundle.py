"""Resolve, download and pack the wheels that a machine lacks. uv resolves, pip downloads."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from examples.offline import install

ROOT = Path(__file__).parents[2]
NAME = "bundle.tar"

NOT_IMPORTED = (
    "fastsafetensors",
    "flashinfer-cubin",
    "flashinfer-python",
    "humming-kernels",
    "mistral-common",
    "nvidia-cutlass-dsl",
    "quack-kernels",
    "tilelang",
    "tokenspeed-mla",
    "torchaudio",
)
"""What vLLM 0.24 asks for and does not import by itself on a Hopper card (docs/offline.md says how that was seen)."""

FROM_SOURCE = ("antlr4-python3-runtime",)
"""Packages of pure Python that ship no wheel: one is built here."""

TORCH_NEEDS = ("filelock", "typing-extensions", "setuptools", "sympy", "networkx", "jinja2", "fsspec")
"""What torch needs beside the CUDA libraries that an image with torch has."""


@dataclass(frozen=True)
class Target:
    """The machine that the bundle is for, x86-64 Linux.

    Attributes:
        python: its Python's version, such as "3.12".
        glibc: the minor version of its glibc 2.
        image: name -> version of the packages that it has.
    """

    python: str
    glibc: int
    image: Mapping[str, str]


def read_image(file: Path | None) -> dict[str, str]:
    """Read what `pip freeze` wrote on the machine: canonical name -> public version, of the lines `name==version`.

    Raises:
        ValueError: for a line that is no requirement, and where no line pins a version.
    """
    if file is None:
        return {}
    pins: dict[str, str] = {}
    for number, line in enumerate(file.read_text().splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text or text.startswith("-"):
            continue
        try:
            found = Requirement(text)
        except InvalidRequirement as error:
            raise ValueError(f"{file}:{number}: {text!r} is no line of `pip freeze`: {error}") from error
        if found.url is None and str(found.specifier).startswith("=="):
            pins[canonicalize_name(found.name)] = public(str(found.specifier).removeprefix("=="))
    if not pins:
        raise ValueError(f"{file} names no package as name==version: write it with `pip freeze` on the machine")
    return pins


def read_pins(file: Path) -> dict[str, str]:
    """Return canonical name -> version of a file's lines that begin with `name==version`; hashes may follow."""
    pins = (re.match(r"([\w.-]+)==(\S+)", line) for line in file.read_text().splitlines())
    return {canonicalize_name(found[1]): found[2] for found in pins if found}


def public(version: str) -> str:
    """Return a version without its local part: an index does not know an image's 2.11.0+cu130."""
    return version.partition("+")[0]


def resolve(requirements: Sequence[str], target: Target, omit: Sequence[str], folder: Path) -> dict[str, str]:
    """Return name -> version of everything that is needed; the image's versions stay where they fit.

    Raises:
        ValueError: where uv finds no set of versions; it has printed why.
    """
    torch = target.image.get("torch")
    (folder / "uv.toml").write_text(_settings(omit, torch))
    (folder / "in.txt").write_text("\n".join([*requirements, *[f"torch=={torch}"] * bool(torch)]) + "\n")
    locked = folder / "locked.txt"
    locked.write_text("".join(f"{name}=={version}\n" for name, version in target.image.items()))
    command = [_tool("uv"), "pip", "compile", str(folder / "in.txt"), "--config-file", str(folder / "uv.toml")]
    command += ["--quiet", "--no-header", "--no-annotate", "--output-file", str(locked)]
    command += ["--python-version", target.python, "--python-platform", f"x86_64-manylinux_2_{target.glibc}"]
    if subprocess.run(command, check=False).returncode:
        raise ValueError("uv found no versions that fit together; its reason stands above")
    return read_pins(locked)


def _settings(omit: Sequence[str], torch: str | None) -> str:
    """Write uv's settings: what is left out, and that an image's torch needs no CUDA libraries of its own."""
    lines = ["override-dependencies = ["]
    lines += [f"""    "{name} ; sys_platform == 'never'",""" for name in omit]
    lines += [f'    "torch=={torch}",'] * bool(torch) + ["]"]
    if torch:
        needs = ", ".join(f'"{name}"' for name in TORCH_NEEDS)
        lines += ["[[dependency-metadata]]", 'name = "torch"', f'version = "{torch}"', f"requires-dist = [{needs}]"]
    return "\n".join(lines) + "\n"


def lacking(needed: Mapping[str, str], image: Mapping[str, str]) -> dict[str, str]:
    """Return what the image has not, or has in another version."""
    return {name: version for name, version in needed.items() if image.get(name) != public(version)}


def download(pins: Mapping[str, str], target: Target, wheels: Path) -> None:
    """Fetch a wheel of each, and build one where there is none and it is pure Python.

    Raises:
        ValueError: where pip finds no wheel for the machine, or one that is built is not pure Python.
    """
    wheels.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    tags = [f"manylinux_2_{minor}_x86_64" for minor in range(target.glibc, 4, -1)]
    tags += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"]
    fetched = [f"{name}=={version}" for name, version in pins.items() if name not in FROM_SOURCE]
    built = [f"{name}=={version}" for name, version in pins.items() if name in FROM_SOURCE]
    if fetched:
        command = [*pip, "download", "--no-deps", "--only-binary=:all:", "--implementation", "cp", "-d", str(wheels)]
        command += ["--python-version", target.python, *(word for tag in tags for word in ("--platform", tag))]
        _run([*command, *fetched], "pip found no wheel for that machine; its reason stands above")
    for source in [*built, str(ROOT)]:
        command = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), source]
        _run(command, f"{source} could not be built; pip's reason stands above")
    foreign = [wheel.name for wheel in wheels.glob("*.whl") if not _fits(wheel.name, target)]
    if foreign:
        raise ValueError(f"{foreign[0]} was built for this machine, not for Python {target.python}: it is not pure")


def _fits(wheel: str, target: Target) -> bool:
    """Tell whether a wheel is for any Python 3, or for the machine's own (a stable ABI is for later ones too)."""
    python, abi, _ = wheel.removesuffix(".whl").split("-")[-3:]
    return abi in ("none", "abi3") or f"cp{target.python.replace('.', '')}" in python.split(".")


def pack(wheels: Path, out: Path, part: int, relied_on: Mapping[str, str]) -> list[Path]:
    """Write the wheels as one archive, cut into parts, with their hashes and the installer.

    Args:
        wheels: the folder of the wheels.
        out: the folder for the bundle.
        part: the size of a part in bytes; the last one may be smaller.
        relied_on: name -> version of what the image has and the bundle needs.

    Returns:
        The parts.
    """
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob(f"{NAME}.*"):
        old.unlink()
    cutter = Cutter(out, part)
    with tarfile.open(fileobj=cutter, mode="w|") as archive:  # type: ignore[call-overload]
        for wheel in sorted(wheels.glob("*.whl")):
            archive.add(wheel, wheel.name)
    parts = cutter.close()
    sums = "".join(f"{digest}  {file.name}\n" for file, digest in parts.items())
    (out / install.SUMS).write_text(sums)
    (out / install.RELIED_ON).write_text("".join(f"{name}=={version}\n" for name, version in relied_on.items()))
    shutil.copy(Path(install.__file__), out / "install.py")
    return list(parts)


class Cutter:
    """A stream that goes into files of a size."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder, self._size = folder, size
        self._parts: dict[Path, str] = {}
        self._stream: BufferedRandom | None = None

    def write(self, data: bytes) -> int:
        """Write all of the bytes, into as many files as they need."""
        left = memoryview(data)
        while left:
            if self._stream is None:
                self._stream = (self._folder / f"{NAME}.{len(self._parts):03}").open("w+b")
                self._parts[Path(self._stream.name)] = ""
            fitting = left[: self._size - self._stream.tell()]
            self._stream.write(fitting)
            left = left[len(fitting) :]
            if self._stream.tell() == self._size:
                self._end()
        return len(data)

    def close(self) -> dict[Path, str]:
        """Return each file with its SHA-256."""
        if self._stream is not None:
            self._end()
        return self._parts

    def _end(self) -> None:
        assert self._stream is not None
        self._stream.seek(0)
        self._parts[Path(self._stream.name)] = hashlib.file_digest(self._stream, "sha256").hexdigest()
        self._stream.close()
        self._stream = None


def _run(command: Sequence[str], otherwise: str) -> None:
    if subprocess.run(command, check=False).returncode:
        raise ValueError(otherwise)


def _tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))
