"""The pinned packages of the set-up, as the files of `make lock` name them."""

import re

from support.paths import ROOT

STACK = ROOT / "wapo_verl" / "cpu"


def pins(name: str) -> dict[str, str]:
    """Return package -> version of a file of pins; names are normalised (lower case, hyphens)."""
    found = re.findall(r"^([\w.-]+)==([\w.+-]+)", (STACK / name).read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", package).lower(): version for package, version in found}
