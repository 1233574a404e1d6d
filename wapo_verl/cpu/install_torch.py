"""Install torch before anything else is: its CPU build where one can be had, else the build that the default index has.

The Makefile runs this file by its path, in an environment that has pip and nothing else, so it imports the standard
library alone. Run it with -I: platform.py beside it is not the standard library's.
"""

import argparse
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
PROBE = ["--timeout", "10", "--retries", "0"]
"""How long an index may take to answer before the next one is asked; downloads have pip's own limits."""


def say(line: str) -> None:
    """Print a line at once, so that it stands above what pip prints."""
    print(f"   {line}", flush=True)


def installed() -> str | None:
    """Return the installed release as a requirement, whatever it was built for, or None."""
    try:
        return f"torch=={version('torch').partition('+')[0]}"
    except PackageNotFoundError:
        return None


def has(index: str, requirement: str) -> bool:
    """Tell whether `index` answers and has the requirement for this Python; nothing is installed."""
    command = [*PIP, "install", "--dry-run", "--ignore-installed", "--no-deps", *PROBE, "--index-url", index]
    # In the place of the user's further indexes, whose torch would hide that this one does not answer.
    elsewhere = {"PIP_EXTRA_INDEX_URL": index, "PIP_FIND_LINKS": os.devnull}
    done = subprocess.run([*command, requirement], env=os.environ | elsewhere, capture_output=True)
    return done.returncode == 0


def install(requirement: str, index: str) -> None:
    """Install the requirement from `index` (empty: pip's own settings) over what is there, then what it depends on.

    Raises:
        SystemExit: pip failed; a torch that was installed before is then still there.
    """
    pip = [*PIP, "install", "--progress-bar", "on"]
    # --no-deps: --force-reinstall would replace each package that torch needs, pinned ones too. These come after, from
    # your default index as well: an index may hold torch alone.
    steps = (["--force-reinstall", "--no-deps", "--index-url"], ["--extra-index-url"])
    for *options, as_index in steps:
        source = [as_index, index] if index else []
        if subprocess.run([*pip, *options, *source, requirement]).returncode:
            raise SystemExit(f"{requirement} could not be installed from {index or 'your default index'}: see above")


def choose_index(requirement: str, cpu_index: str) -> str:
    """Return PyTorch's index of CPU builds where it can be used, else an empty string for the default index."""
    say(f"asking {cpu_index} for a CPU build (0.2 GB)")
    if has(cpu_index, requirement):
        return cpu_index
    say(f"{cpu_index} cannot be reached or has no {requirement} for this Python: taking your default index's build.")
    say("Where that is a CUDA build, it downloads 2.7 GB and takes 3 GB more of disk.")
    return ""


def report() -> None:
    """Say which torch is installed, by importing it."""
    code = "import torch; print(torch.__version__, torch.version.cuda or '')"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"torch was installed and cannot be imported:\n{done.stderr}")
    release, _, cuda = done.stdout.strip().partition(" ")
    built = f"a build for CUDA {cuda}: it runs on the CPU as well" if cuda else "a build for the CPU"
    say(f"torch {release} is installed, {built}")


def main() -> None:
    """Read the arguments and install."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requirement", help="The release to install, such as torch==2.13.0.")
    parser.add_argument("--cpu-index", required=True, help="PyTorch's index of CPU builds, asked first.")
    parser.add_argument("--index", default="", help="The one index to take torch from, whatever it holds.")
    arguments = parser.parse_args()
    requirement = arguments.requirement
    if arguments.index or installed() != requirement:
        install(requirement, arguments.index or choose_index(requirement, arguments.cpu_index))
    report()


if __name__ == "__main__":
    main()
