"""Run the Makefile as a machine would that reaches the given package indexes and nothing else."""

import os
import subprocess
from pathlib import Path

UNREACHABLE = "http://127.0.0.1:9/whl/cpu"


def run_make(project: Path, *arguments: str, default_index: Path, **pip: str) -> subprocess.CompletedProcess[str]:
    """Run `make` in a folder, with pip's settings replaced.

    Args:
        project: The folder of the Makefile.
        *arguments: Targets and variables.
        default_index: The folder that stands for the machine's own index.
        **pip: Further settings of pip's, by the names of its environment variables.

    Returns:
        The finished process, with its output as text.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "MAKE", "MFLAGS"))}
    settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": default_index.as_uri(), **pip}
    command = ["make", "-C", str(project), *arguments]
    return subprocess.run(command, env=kept | settings, capture_output=True, text=True, timeout=300)
