"""What a piece of the suite is made of: cases, each of which prints its outcome as one line of JSON when it is over.

A case that fails does not hide the next one, and what was printed stays where the piece is killed at its time limit.
"""

import json
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

MARK = "CASE "
Numbers = dict[str, float | int | str]
Result = Literal["passed", "failed", "not there"]


class NotThereError(Exception):
    """Says what this machine lacks for a case."""


@dataclass(frozen=True)
class Case:
    """The outcome of a case: its numbers where it passed, else why not."""

    name: str
    result: Result
    seconds: float
    numbers: Numbers = field(default_factory=dict)
    reason: str = ""

    @classmethod
    def read(cls, line: str) -> "Case | None":
        """Read a line of a piece's output; None where it is no case's."""
        return cls(**json.loads(line.removeprefix(MARK))) if line.startswith(MARK) else None


@dataclass(frozen=True)
class Setting:
    """Where a piece runs.

    Attributes:
        device: "cuda" or "cpu".
        small: whether to compute on sizes that show the code's path alone.
        out: a folder for what the piece writes.
    """

    device: str
    small: bool
    out: Path


class Cases:
    """Runs the cases of a piece."""

    def __init__(self) -> None:
        self.failed = 0

    def run(self, name: str, case: Callable[..., Numbers], *arguments: Any) -> None:
        """Run a case, which returns its numbers or raises, and print its outcome."""
        started, numbers, reason = time.monotonic(), Numbers(), ""
        result: Result = "passed"
        try:
            numbers = case(*arguments)
        except NotThereError as error:
            result, reason = "not there", str(error)
        except Exception as error:  # noqa: BLE001 - it is the case's outcome, and must not hide the next case's
            traceback.print_exc()
            result, reason = "failed", f"{type(error).__name__}: {error}"[:600]
            self.failed += 1
        outcome = Case(name, result, round(time.monotonic() - started, 2), numbers, reason)
        print(MARK + json.dumps(asdict(outcome)), flush=True)


def piece(run: Callable[[Cases, Setting], None]) -> None:
    """Run a piece as a command; its status is 1 where a case failed."""

    def main(
        out: Annotated[Path, typer.Option(help="Folder for what is written.")],
        device: Annotated[str, typer.Option(help="cuda or cpu.")] = "cuda",
        small: Annotated[bool, typer.Option("--small", help="Sizes that show the code's path alone.")] = False,
    ) -> None:
        cases = Cases()
        run(cases, Setting(device, small, out.absolute()))
        sys.exit(int(cases.failed > 0))

    typer.run(main)


def at_most(what: str, value: float, limit: float) -> None:
    """Raise AssertionError where a value is larger than its limit, or no number."""
    if not value <= limit:
        raise AssertionError(f"{what} is {value:.3g}; at most {limit:.3g} was expected")
