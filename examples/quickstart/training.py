"""Run veRL in a process of its own and show what it is doing: the phases of its start, then one line per step.

Its whole output goes to a log file; what is shown is read from that file and from the file of veRL's file logger.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.status import Status

from examples.quickstart.metrics import LEGEND, Lines, Row, header_line, parse_row, step_line
from wapo_verl.evaluation.verl_process import end_family

LOOK_EVERY_SECONDS = 0.3
STILL_THERE_SECONDS = 15.0
"""Seconds without output after which a line says what is under way, where no spinner is shown."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase of the start.

    Attributes:
        doing: what is under way.
        done: what is printed at its end.
        marker: the text of the log line that ends it; "" where a row of metrics ends it.
    """

    doing: str
    done: str
    marker: str = ""


FIRST_VALIDATION, FIRST_STEP = "held-out questions answered once", "first step"
PHASES = (
    Phase("importing veRL", "settings resolved", "settings resolved by wapo-verl"),
    Phase("starting Ray", "Ray up", "Started a local Ray instance"),
    Phase("starting the trainer's process", "trainer up", "train and validate dataloader initialized"),
    Phase("starting the actor", "actor ready", "actor and ref model engine initialized"),
    Phase("starting vLLM", "vLLM ready", "checkpoint engine manager initialized"),
    Phase("getting ready", "ready to fit", "all initialize finished, ready to fit"),
    Phase("starting the agent loop, answering the held-out questions", FIRST_VALIDATION),
    Phase("making the first step", FIRST_STEP),
)
"""In their order. All markers are lines of one stream, since lines of two streams may come out of order."""


@dataclass(slots=True)
class StartUp:
    """The phases that are finished, each with the seconds from the command to its end."""

    seen: list[tuple[str, float]] = field(default_factory=list)

    @property
    def doing(self) -> str:
        """What is under way: the phase after the last finished one, or the training."""
        last = self.seen[-1][0] if self.seen else None
        place = next((place + 1 for place, phase in enumerate(PHASES) if phase.done == last), 0)
        return PHASES[place].doing if place < len(PHASES) else "training"

    def see_line(self, line: str, elapsed: float) -> str | None:
        """Return the phase that a line of the log ends, None where it ends none."""
        found = next((phase for phase in PHASES if phase.marker and phase.marker in line), None)
        return self._see(found.done, elapsed) if found else None

    def see_row(self, row: Row, elapsed: float) -> str | None:
        """Return the phase that a row of metrics ends, None where it ends none."""
        return self._see(FIRST_STEP if row.trained else FIRST_VALIDATION, elapsed)

    def _see(self, done: str, elapsed: float) -> str | None:
        order = [phase.done for phase in PHASES]
        if self.seen and order.index(done) <= order.index(self.seen[-1][0]):
            return None
        self.seen.append((done, elapsed))
        return done


@dataclass(frozen=True, slots=True)
class Training:
    """How the process ended: its exit status, the phases of its start, the rows of metrics, the seconds it ran."""

    status: int
    start_up: tuple[tuple[str, float], ...]
    rows: tuple[Row, ...]
    seconds: float


def train(command: Sequence[str], log: Path, metrics: Path, console: Console) -> Training:
    """Run the command to its end, and show phases and steps as they come.

    Where this is interrupted, the process and all that it started are ended.

    Args:
        command: the command.
        log: the file for its output.
        metrics: the file of veRL's file logger.
        console: where to show.
    """
    metrics.unlink(missing_ok=True)
    environment = {**os.environ, "VERL_FILE_LOGGER_PATH": str(metrics), "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as output, console.status("") as status:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        watch = _Watch(log, metrics, console, status)
        try:
            while process.poll() is None:
                watch.look()
                time.sleep(LOOK_EVERY_SECONDS)
        finally:
            if process.poll() is None:
                end_family(process)
        watch.look()
    return Training(process.returncode, tuple(watch.start_up.seen), tuple(watch.rows), watch.elapsed)


class _Watch:
    """Shows new lines of the log and new rows of metrics."""

    def __init__(self, log: Path, metrics: Path, console: Console, status: Status) -> None:
        self.start_up = StartUp()
        self.rows: list[Row] = []
        self._log, self._metrics = Lines(log), Lines(metrics)
        self._console, self._status = console, status
        self._started = self._spoke = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the command was started."""
        return time.monotonic() - self._started

    def look(self) -> None:
        """Show what is new, and from time to time that the process still runs."""
        # The metrics are read first and shown last: what veRL logged before it wrote them is then in the log.
        rows = [parse_row(line) for line in self._metrics.new()]
        for line in self._log.new():
            self._over(self.start_up.see_line(line, self.elapsed))
        for row in rows:
            self._over(self.start_up.see_row(row, self.elapsed))
            if not self.rows:
                self._say(LEGEND)
                self._say(header_line())
            self.rows.append(row)
            self._say(step_line(row))
        self._status.update(f"{self.start_up.doing} · {self.elapsed:.0f} s")
        if not self._console.is_terminal and time.monotonic() - self._spoke > STILL_THERE_SECONDS:
            self._say(f"{self.elapsed:6.1f} s  … {self.start_up.doing}")

    def _over(self, done: str | None) -> None:
        if done is not None:
            self._say(f"{self.elapsed:6.1f} s  {done}")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
        self._spoke = time.monotonic()
