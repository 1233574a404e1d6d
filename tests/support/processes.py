"""Runs Python in a process of its own as `python -m` would: the current folder comes first on the path."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

HIDDEN = (
    "PYTHONPATH",
    "VERL_PLATFORM",
    "VERL_USE_EXTERNAL_PLUGINS",
    "WAPO_VERL_DISABLE",
    "WAPO_ENVIRONMENTS",
    "RAY_ADDRESS",
)
"""Variables that decide what is tested, so none comes from the tests' own process."""


def as_code(script: Path) -> str:
    """Return the code to give to `python -c`, which puts the current folder first on the path, to run a script."""
    return f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"


def found_in(done: subprocess.CompletedProcess[str] | str) -> dict[str, Any]:
    """Return what `plain_runs.py` or `our_run.py` printed as JSON, given the process or what it printed."""
    printed, errors = (done, "") if isinstance(done, str) else (done.stdout, done.stderr)
    lines = [line.removeprefix("FOUND ") for line in printed.splitlines() if line.startswith("FOUND ")]
    assert lines, f"{printed[-1500:]}\n{errors[-3000:]}"
    return json.loads(lines[0])


def python(
    script: Path | str,
    *arguments: str,
    folder: Path,
    path: Iterable[Path] = (),
    variables: Mapping[str, str] | None = None,
    timeout_s: float = 300,
) -> subprocess.CompletedProcess[str]:
    """Run a script, with nothing of this checkout on the path but what is installed.

    Args:
        script: A file, or the code itself.
        arguments: Its arguments.
        folder: The current folder, which comes first on the path; Ray's files are looked for there, too.
        path: Folders for PYTHONPATH.
        variables: Further variables.
        timeout_s: Seconds after which it is a failure.
    """
    code = script if isinstance(script, str) else as_code(script)
    inherited = {name: value for name, value in os.environ.items() if name not in HIDDEN}
    where = os.pathsep.join(map(str, path))
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env={**inherited, "PYTHONPATH": where, "RAY_TMPDIR": str(folder), **(variables or {})},
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


def hostile_folder(folder: Path, *, retrieval_index: bool = True) -> Path:
    """Make a folder as a user's may be: with names that our checkout has too, each of which fails when it is imported.

    Args:
        folder: Where; made.
        retrieval_index: Whether a module of that name, which is an import name of ours, is among them.
    """
    folder.mkdir()
    packages = ("envs", "recipes", "tests", "examples")
    for name in packages:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"raise AssertionError('the user\\'s {name} was imported')\n")
    (folder / "benchmarks").mkdir()
    (folder / "docs").mkdir()
    (folder / "envs" / "ottqa").mkdir()
    (folder / "recipes" / "mine.sh").touch()
    if retrieval_index:
        (folder / "retrieval_index.py").write_text(
            "raise AssertionError('the user\\'s retrieval_index was imported')\n"
        )
    return folder
