"""The records of published runs, which lie packed in `benchmarks/`."""

import tarfile
from pathlib import Path

from support.paths import ROOT


def unpack_records(name: str, folder: Path) -> Path:
    """Unpack `benchmarks/NAME` into a folder, and return it."""
    with tarfile.open(ROOT / "benchmarks" / name) as archive:
        archive.extractall(folder, filter="data")
    return folder
