"""Run the suite's pieces one after another, each in a process of its own that is killed at its time limit."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.gpu.cases import Case, Setting
from wapo_verl.cpu.where import PLATFORM_VARIABLE
from wapo_verl.evaluation.verl_process import end_family

ROOT = Path(__file__).parents[2]
SUPPORT = (ROOT / "tests", ROOT / "tests" / "wapo_verl" / "training")
"""Folders whose modules the pieces share with the CPU's tests."""

LAST_LINES = 15


@dataclass(frozen=True)
class Piece:
    """A part of the suite.

    Attributes:
        name: for the command line and the tables.
        command: the arguments after Python's own; `--device`, `--out` and so on are added.
        limit: seconds after which it is killed.
        settles: what it shows, in a sentence.
    """

    name: str
    command: tuple[str, ...]
    limit: float
    settles: str


@dataclass(frozen=True)
class Outcome:
    """How a piece ended.

    Attributes:
        piece: the piece.
        result: "passed", "failed", "killed" at its limit, "no result" where it printed no case, "no time" where the
            suite's own time was over before.
        seconds: how long it ran.
        cases: those that it printed.
        last_lines: the end of its output, where it did not pass.
    """

    piece: Piece
    result: Literal["passed", "failed", "killed", "no result", "no time"]
    seconds: float
    cases: tuple[Case, ...] = ()
    last_lines: tuple[str, ...] = ()


def run_piece(piece: Piece, setting: Setting, seconds_left: float) -> Outcome:
    """Run a piece to its end or its limit; its output goes to `setting.out`/NAME.log, its files beside that.

    Args:
        piece: the piece.
        setting: where it runs.
        seconds_left: of the whole suite.
    """
    limit = min(piece.limit, seconds_left)
    if limit <= 0:
        return Outcome(piece, "no time", 0.0)
    folder, log = setting.out / piece.name, setting.out / f"{piece.name}.log"
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--device", setting.device, "--out", str(folder), *["--small"] * setting.small]
    command = [sys.executable, *piece.command, *options]
    started, was_killed = time.monotonic(), False
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=_environment(setting.device),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            was_killed = True
        finally:
            if process.poll() is None:
                end_family(process, patience=5.0)
    seconds = time.monotonic() - started
    said = log.read_text(encoding="utf-8", errors="replace")
    lines = said.replace(sys.prefix, "PREFIX").replace(str(ROOT), ".").splitlines()  # the page is published
    cases = tuple(filter(None, map(Case.read, lines)))
    result = _result(was_killed, process.returncode, cases)
    return Outcome(piece, result, seconds, cases, () if result == "passed" else tuple(lines[-LAST_LINES:]))


def _environment(device: str) -> dict[str, str]:
    """Return this process's variables, with the device's platform, and our folders on the path."""
    path = os.pathsep.join([*map(str, SUPPORT), str(ROOT), os.environ.get("PYTHONPATH", "")])
    inherited = {name: value for name, value in os.environ.items() if name != PLATFORM_VARIABLE}
    platform = {PLATFORM_VARIABLE: "cpu"} if device == "cpu" else {}
    return {**inherited, **platform, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def _result(was_killed: bool, status: int, cases: Sequence[Case]) -> Literal["passed", "failed", "killed", "no result"]:
    if was_killed:
        return "killed"
    if status != 0 or any(case.result == "failed" for case in cases):
        return "failed"
    return "passed" if cases else "no result"
