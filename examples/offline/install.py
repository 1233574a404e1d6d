"""Join a bundle's parts, check them, install its wheels, and run a command with them. Needs Python and pip alone.

    python3 install.py [--into FOLDER] [COMMAND ...]

It lies beside the parts. The wheels are installed into a folder of their own, so that no root is needed and the
machine's own packages stay as they are; a wheel whose package is there already in that version is left out.
"""

from __future__ import annotations

import argparse
import compileall
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

SUMS = "SHA256SUMS"
RELIED_ON = "on_the_machine.txt"
"""What the bundle leaves to the machine, as name==version."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Install, and run the command; return its status, or 1 where the bundle is not whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=Path(__file__).parent / "site", help="folder for the packages")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="run this with the packages")
    given = parser.parse_args(arguments)
    try:
        names = install(Path(__file__).parent, given.into.absolute())
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"installed {len(names)} packages into {given.into.absolute()}", flush=True)
    environment = with_packages(given.into.absolute())
    if not given.command:
        print(f"to use them: export PYTHONPATH={environment['PYTHONPATH']} PATH={given.into.absolute()}/bin:$PATH")
        return 0
    return subprocess.run(given.command, env=environment, check=False).returncode


def install(bundle: Path, into: Path) -> list[str]:
    """Install what this machine lacks; return the names of the wheels.

    Args:
        bundle: the folder of the parts.
        into: the folder for the packages.

    Raises:
        ValueError: where a part is missing or damaged, the machine lacks what the bundle leaves to it, or pip fails.
    """
    parts = whole_parts(bundle)
    if lacking := [pin for pin in (bundle / RELIED_ON).read_text().split() if not is_there(*pin.split("=="))]:
        raise ValueError(
            f"this machine lacks {', '.join(lacking)}, which the bundle's image file named: make the bundle with what "
            f"`{sys.executable} -m pip freeze` writes here"
        )
    with tempfile.TemporaryDirectory(dir=bundle) as folder:
        with tarfile.open(fileobj=io.BufferedReader(Joined(parts)), mode="r|") as archive:
            archive.extractall(folder, filter="data")
        new = [wheel for wheel in sorted(Path(folder).glob("*.whl")) if not is_there(*wheel.name.split("-")[:2])]
        command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--no-compile", "--quiet"]
        command += ["--disable-pip-version-check", "--upgrade", "--target", str(into), *map(str, new)]
        if new and subprocess.run(command, check=False).returncode:
            raise ValueError("pip could not install the wheels; its reason stands above")
    compileall.compile_dir(into, quiet=2, workers=0)  # by all cores; else every process of a first run does it again
    return [wheel.name for wheel in new]


def whole_parts(bundle: Path) -> list[Path]:
    """Return the parts in their order, after their hashes were checked.

    Raises:
        ValueError: naming every part that is missing or damaged.
    """
    sums = bundle / SUMS
    if not sums.is_file():
        raise ValueError(f"{sums} is missing: carry it with the parts")
    wanted = {bundle / name: digest for digest, name in map(str.split, sums.read_text().splitlines())}
    missing = [part.name for part in wanted if not part.is_file()]
    damaged = [part.name for part, digest in wanted.items() if part.is_file() and sha256(part) != digest]
    if missing or damaged:
        kinds = {"missing": missing, "damaged": damaged}
        said = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items() if names)
        raise ValueError(f"the bundle in {bundle} is not whole ({said}): copy these parts again")
    return list(wanted)


def sha256(file: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_there(name: str, number: str) -> bool:
    """Tell whether a package is installed in a version, as far as the version's public part goes."""
    try:
        return version(name).partition("+")[0] == number.partition("+")[0]
    except PackageNotFoundError:
        return False


def with_packages(into: Path) -> dict[str, str]:
    """Return the variables of a process that finds the packages and their commands first."""
    paths = {"PYTHONPATH": str(into), "PATH": str(into / "bin")}
    return {**os.environ, **{name: _before(place, os.environ.get(name)) for name, place in paths.items()}}


def _before(place: str, others: str | None) -> str:
    return os.pathsep.join([place, others] if others else [place])


class Joined(io.RawIOBase):
    """The bytes of files one after another."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._streams = (file.open("rb") for file in files)
        self._now = next(self._streams, None)

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read into a buffer; return how many bytes, 0 at the end of the last file."""
        while self._now is not None:
            if count := self._now.readinto(buffer):
                return count
            self._now.close()
            self._now = next(self._streams, None)
        return 0


if __name__ == "__main__":
    sys.exit(main())
