"""Say what the set-up downloads, and stop it where it could not work: before anything is downloaded.

The Makefile runs this file with the user's own Python, which may be an old one and has no package of ours. Run it with
-I: platform.py beside it is not the standard library's.
"""

from __future__ import annotations

import ctypes
import platform
import shutil
import sys

PYTHONS = ((3, 11), (3, 12))
DISK_GB = 8
"""What the set-up takes at most: with a CUDA build of torch, and the downloads that pip keeps while it installs."""
COST = """== set-up, once: 1.1 GB of downloads, 4.1 GB of disk (3.6 and 7.1 where torch comes as a CUDA build).
   2 to 4 minutes on two free cores with a fast link; at 100 Mbit/s the downloads alone take 1.5 (5 with CUDA)."""


def refusals() -> list[str]:
    """Return why the set-up cannot work on this machine, a sentence each with what to do."""
    found = []
    if sys.version_info[:2] not in PYTHONS:
        release = "{}.{}".format(*sys.version_info[:2])
        found.append("this is Python " + release + ", 3.11 or 3.12 is needed: make PYTHON=python3.11 ...")
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        here = platform.system() + " " + platform.machine()
        found.append("this is " + here + ", and vLLM's CPU build is for Linux on x86-64 alone: use a container or a VM")
    return found


def warnings(folder: str = ".") -> list[str]:
    """Return what will be missing, a sentence each with what to do; the set-up itself works without."""
    found = []
    try:
        ctypes.CDLL("libnuma.so.1")
    except OSError:
        found.append("vLLM needs libnuma.so.1: apt-get install libnuma1 (Debian, Ubuntu), dnf install numactl-libs")
    free = shutil.disk_usage(folder).free / 1e9
    if free < DISK_GB:
        found.append(f"only {free:.1f} GB of disk are free here, and the set-up may need {DISK_GB}")
    return found


def main() -> None:
    """Print what the set-up costs and what is missing; end with an error where it cannot work."""
    found = refusals()
    if found:
        sys.exit("\n".join("set-up: " + refusal for refusal in found))
    print(COST)
    for warning in warnings():
        print("   careful: " + warning)


if __name__ == "__main__":
    main()
