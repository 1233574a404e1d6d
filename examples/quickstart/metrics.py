"""Read the lines of veRL's file logger, one JSON object per step, and format what the quickstart shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from wapo_verl.guard.recorded import step_of_line

REWARD = "critic/score/mean"
EXACT_MATCH = "reward/exact_match/mean"
WINNERS = "group/winner_fraction"
ENTROPY = "actor/entropy"
RATIO_MAX = "actor/ratio_max"
ROLLOUT_GAP = "training/rollout_probs_diff_mean"
STEP_SECONDS = "timing_s/step"
TIMING = "timing_s/"

_HELD_OUT = re.compile(r"val-(core|aux)/[^/]+/exact_match/mean@\d+")

COLUMNS: tuple[tuple[str, int], ...] = (
    ("step", 4),
    ("reward", 8),
    ("EM", 7),
    ("winners", 9),
    ("entropy", 9),
    ("ratio max", 11),
    ("rollout gap", 13),
    ("s", 6),
    ("held-out EM", 13),
)
"""Names and widths of `step_line`, 80 characters together."""

LEGEND = (
    "EM: exact match of the completions trained on; winners: the share of them with an advantage above 0; "
    "entropy: nats a token; rollout gap: mean difference of the actor's and vLLM's probabilities; s: seconds"
)


@dataclass(frozen=True, slots=True)
class Row:
    """The metrics of one step; step 0 is the validation before training."""

    step: int
    values: dict[str, float]

    @property
    def trained(self) -> bool:
        """Whether this row is of a training step, not of a validation alone."""
        return STEP_SECONDS in self.values

    @property
    def held_out(self) -> float | None:
        """Exact match on the held-out questions where this step ended with a validation, else None."""
        return next((value for key, value in self.values.items() if _HELD_OUT.fullmatch(key)), None)


class Lines:
    """Reads a growing file: the lines completed since the last call. The file need not exist yet."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._position = 0
        self._rest = b""

    def new(self) -> list[str]:
        """Return the lines completed since the last call, without line ends."""
        if not self._file.is_file():
            return []
        with self._file.open("rb") as stream:
            stream.seek(self._position)
            content = stream.read()
        self._position += len(content)
        *lines, self._rest = (self._rest + content).split(b"\n")
        return [line.decode("utf-8", "replace") for line in lines]


def parse_row(line: str) -> Row:
    """Read one line of veRL's file logger; values that are no numbers (a NaN arrives as null) are skipped.

    Raises:
        ValueError: for a line that is no such record.
    """
    try:
        step, data = step_of_line(line)
    except ValueError as error:
        raise ValueError(f"not a line of veRL's file logger: {line[:80]!r}") from error
    return Row(step, {key: float(value) for key, value in data.items() if isinstance(value, int | float)})


def header_line() -> str:
    """Return the header of the columns of `step_line`."""
    return "".join(name.rjust(width) for name, width in COLUMNS)


def step_line(row: Row) -> str:
    """Write one step as one line with the columns of `COLUMNS`; a value that was not logged is a dash."""
    formats = {
        "reward": (REWARD, ".3f"),
        "EM": (EXACT_MATCH, ".3f"),
        "winners": (WINNERS, ".3f"),
        "entropy": (ENTROPY, ".3f"),
        "ratio max": (RATIO_MAX, ".4f"),
        "rollout gap": (ROLLOUT_GAP, ".1e"),
        "s": (STEP_SECONDS, ".1f"),
    }
    cells = {name: _cell(row.values.get(key), form) for name, (key, form) in formats.items()}
    held_out = row.held_out
    cells |= {"step": str(row.step), "held-out EM": "" if held_out is None else f"{held_out:.3f}"}
    return "".join(cells[name].rjust(width) for name, width in COLUMNS)


def _cell(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
