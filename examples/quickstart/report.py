"""Report on a run: held-out exact match by step, whether vLLM had the actor's weights, and where the time went.

`build` turns rows of metrics into one plain dict, which `report.json` holds and `show` prints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from examples.quickstart.metrics import ROLLOUT_GAP, STEP_SECONDS, TIMING, Row
from examples.quickstart.training import FIRST_STEP

GAP_LIMIT = 1e-3
"""A larger difference of the rollout's and the actor's probabilities means that vLLM has other weights."""

BFLOAT16_GAP_LIMIT = 0.05
"""The same where vLLM computes in bfloat16, whose rounding alone was measured at .0011 to .0071."""

BAR_WIDTH = 30

_OUTSIDE_THE_STEP = ("step", "testing", "dump_rollout_generations")


@dataclass(frozen=True, slots=True)
class Goal:
    """The rise of held-out exact match that counts as success.

    Attributes:
        text: the rise in words, behind "it rose".
        reached: takes exact match at the first and at the last validation, and the questions of each.
    """

    text: str
    reached: Callable[[float, float, int], bool]


@dataclass(frozen=True, slots=True)
class Circumstances:
    """The facts of a run that are not in its metrics.

    Attributes:
        seed: of the world, the warm start and the training.
        questions: held-out questions of a validation.
        preparation: seconds of each piece before veRL's command.
        start_up: phases of veRL's start, each with the seconds from the command to its end.
        training_seconds: seconds of veRL's command.
        peak_memory_bytes: the most that all processes together had, what they share counted once.
        command: veRL's command.
        name: the experiment's, for the figure's title.
        goal: what counts as success.
    """

    seed: int
    questions: int
    preparation: Mapping[str, float]
    start_up: Sequence[tuple[str, float]]
    training_seconds: float
    peak_memory_bytes: int
    command: Sequence[str]
    name: str
    goal: Goal


def build(rows: Sequence[Row], around: Circumstances) -> dict[str, Any]:
    """Return the report as plain JSON types; the keys name seconds, gigabytes (10^9 bytes) and shares."""
    held_out = [
        {
            "step": row.step,
            "exact_match": row.held_out,
            "standard_error": standard_error(row.held_out, around.questions),
        }
        for row in rows
        if row.held_out is not None
    ]
    shares = [row.held_out for row in rows if row.held_out is not None]
    gaps = [row.values[ROLLOUT_GAP] for row in rows if ROLLOUT_GAP in row.values]
    trained = [row for row in rows if row.trained]
    prepared = sum(around.preparation.values())
    first_step_ended = dict(around.start_up).get(FIRST_STEP)
    return {
        "seed": around.seed,
        "steps": trained[-1].step if trained else 0,
        "held_out_questions": around.questions,
        "held_out": held_out,
        "goal": around.goal.text,
        "rose": len(shares) > 1 and around.goal.reached(shares[0], shares[-1], around.questions),
        "rollout_probs_diff_mean_max": max(gaps, default=None),
        "steps_without_rollout_probs_diff": sum(ROLLOUT_GAP not in row.values for row in trained),
        "preparation_seconds": dict(around.preparation),
        "start_up_seconds": [
            {"phase": phase, "took": ended - before, "ended": ended}
            for (phase, ended), before in zip(
                around.start_up, [0.0, *(ended for _, ended in around.start_up)], strict=False
            )
        ],
        "command_to_first_step_seconds": None if first_step_ended is None else prepared + first_step_ended,
        "first_step_seconds": trained[0].values[STEP_SECONDS] if trained else None,
        "step_seconds": step_phases(trained[1:]),
        "validation_seconds": _median([row.values.get(f"{TIMING}testing") for row in trained]),
        "training_seconds": around.training_seconds,
        "total_seconds": prepared + around.training_seconds,
        "peak_memory_gigabytes": around.peak_memory_bytes / 1e9,
        "command": list(around.command),
    }


def step_phases(rows: Sequence[Row]) -> dict[str, float]:
    """Return the median seconds of each part of a step; `step` is the whole and `other` what the parts leave.

    The medians of the parts need not add up to that of the whole.
    """
    names = list(
        dict.fromkeys(key.removeprefix(TIMING) for row in rows for key in row.values if key.startswith(TIMING))
    )
    parts = [name for name in names if name not in _OUTSIDE_THE_STEP]
    phases = {name: _median([row.values.get(TIMING + name) for row in rows]) for name in parts}
    left = [row.values[STEP_SECONDS] - sum(row.values.get(TIMING + name, 0.0) for name in parts) for row in rows]
    found = {**phases, "other": _median(left), "step": _median([row.values[STEP_SECONDS] for row in rows])}
    return {name: seconds for name, seconds in found.items() if seconds is not None}


def _median(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return median(present) if present else None


def standard_error(share: float, count: int) -> float | None:
    """Return the standard error of a share of `count` independent samples, sqrt(p (1 - p) / n)."""
    return math.sqrt(share * (1 - share) / count) if count else None


def show(report: Mapping[str, Any], console: Console) -> None:
    """Print the tables and the verdict."""
    console.print(_held_out_table(report))
    console.print(_time_table(report))
    for line in (_gap_line(report), _memory_line(report), verdict(report)):
        console.print(line, highlight=False, soft_wrap=True)


def verdict(report: Mapping[str, Any]) -> str:
    """Say in one sentence of rich's markup whether held-out exact match rose as the goal wants."""
    held_out = report["held_out"]
    if not held_out:
        return "[yellow]no validation was made, so nothing is known of the held-out questions[/]"
    first, last = held_out[0], held_out[-1]
    went = (
        f"held-out exact match went from {first['exact_match']:.2f} (step {first['step']}) "
        f"to {last['exact_match']:.2f} (step {last['step']})"
    )
    wanted = report["goal"]
    if report["rose"]:
        return f"[bold green]{went}: it rose {wanted}[/]"
    return f"[bold yellow]{went}: it did NOT rise {wanted}[/]"


def _held_out_table(report: Mapping[str, Any]) -> Table:
    table = Table(
        title="held-out exact match",
        caption=f"{report['held_out_questions']} questions, one answer each, sampled at temperature 1",
    )
    for name in ("step", "exact match", "± standard error"):
        table.add_column(name, justify="right")
    table.add_column("", min_width=BAR_WIDTH)
    for entry in report["held_out"]:
        error = entry["standard_error"]
        table.add_row(
            str(entry["step"]),
            f"{entry['exact_match']:.3f}",
            "–" if error is None else f"{error:.3f}",
            "█" * round(BAR_WIDTH * entry["exact_match"]),
        )
    return table


def _time_table(report: Mapping[str, Any]) -> Table:
    table = Table(
        title="where the time went",
        caption="clock: seconds since veRL's command; a step: medians over those after the first",
    )
    table.add_column("part")
    table.add_column("seconds", justify="right")
    table.add_column("clock", justify="right")
    for name, seconds in report["preparation_seconds"].items():
        table.add_row(f"before veRL: {name}", f"{seconds:.1f}", "")
    table.add_section()
    for phase in report["start_up_seconds"]:
        table.add_row(f"veRL: {phase['phase']}", f"{phase['took']:.1f}", f"{phase['ended']:.1f}")
    table.add_section()
    for name, seconds in report["step_seconds"].items():
        table.add_row("a step, all of it" if name == "step" else f"a step: {name}", f"{seconds:.2f}", "")
    table.add_section()
    wholes = {
        "the first step": "first_step_seconds",
        "a validation (median)": "validation_seconds",
        "command to the end of the first step": "command_to_first_step_seconds",
        "veRL, all of it": "training_seconds",
        "everything": "total_seconds",
    }
    for name, key in wholes.items():
        if report[key] is not None:
            table.add_row(name, f"{report[key]:.1f}", "")
    return table


def _gap_line(report: Mapping[str, Any]) -> str:
    worst = report["rollout_probs_diff_mean_max"]
    if worst is None:
        return f"[yellow]{ROLLOUT_GAP} was not logged, so the weight sync to vLLM is unproved[/]"
    missing = report["steps_without_rollout_probs_diff"]
    line = f"{ROLLOUT_GAP}: {worst:.1e} at most over the steps"
    line += f", not logged at {missing} of them" if missing else ""
    rounds = any(each.endswith("rollout.dtype=bfloat16") for each in report["command"])
    limit = BFLOAT16_GAP_LIMIT if rounds else GAP_LIMIT
    if worst < limit:
        return f"{line} (below {limit:g}: vLLM sampled with the actor's weights)"
    return f"[bold red]{line}: not below {limit:g}, vLLM may have sampled with other weights than the actor's[/]"


def _memory_line(report: Mapping[str, Any]) -> str:
    peak = report["peak_memory_gigabytes"]
    return f"peak memory: {peak:.1f} GB of all processes together, what they share counted once"
