"""Other veRLs than the installed one: a published release, and copies of the installed one with names changed."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

CACHE = Path(tempfile.gettempdir()) / "wapo-verl-releases"
"""Downloads stay here, so that they are made once."""


def downloaded(version: str, *options: str) -> Path:
    """Return the file of a release of veRL, fetched by pip; the test is skipped, with pip's reason, where it cannot.

    Args:
        version: As on the package index.
        options: Further options of `pip download`, such as `--no-binary verl` for the source archive.
    """
    folder = CACHE / "-".join([version, *(option.strip("-") for option in options)])
    if not folder.is_dir():
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as partial:
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--no-deps",
                *options,
                f"verl=={version}",
                "-d",
                partial,
            ]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600)
            if done.returncode != 0:
                pytest.skip(f"veRL {version} cannot be fetched: {done.stderr.strip().splitlines()[-1]}")
            shutil.copytree(partial, folder)
    (file,) = folder.iterdir()
    return file


def release(version: str, folder: Path) -> Path:
    """Unpack a release's package into `folder`, without its metadata, and return that folder, to be put on the path."""
    with zipfile.ZipFile(downloaded(version)) as wheel:
        wheel.extractall(folder, [name for name in wheel.namelist() if name.startswith("verl/")])
    return folder


def with_renamed(folder: Path, renamed: dict[str, str]) -> Path:
    """Copy the installed veRL into `folder`, every mention of some names changed, and return that folder.

    Args:
        folder: Where; the package `verl` is put into it.
        renamed: Old name -> new name, whole words.
    """
    import verl

    origin = Path(verl.__file__).parent
    shutil.copytree(origin, folder / "verl", copy_function=os.link, ignore=shutil.ignore_patterns("__pycache__"))
    words = re.compile(rf"\b({'|'.join(renamed)})\b")
    for file in (folder / "verl").rglob("*.py"):
        text = file.read_text()
        changed = words.sub(lambda match: renamed[match.group()], text)
        if changed != text:
            file.unlink()  # the link, so that the installed file stays as it is
            file.write_text(changed)
    return folder
