"""Write the page and the figure of `benchmarks.winners`."""

import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch

FRACTIONS = (0.1, 0.25, 0.5, 0.75, 1.0)
MINI_BATCHES = 2
LIMIT, LIMIT_OF_ALL = 0.1, 1.02
"""What is asked of the ratio: at most the winners' fraction and this much more; and with every row a winner."""


@dataclass(frozen=True)
class Setting:
    """A model and a batch.

    Attributes:
        model: "tiny" or "0.1B".
        tokens: mean length of a row, of which a quarter is the prompt; lengths are uniform from half of it to one and a
            half.
        rows: of the batch.
        micro_batch: rows of a micro-batch.
        rounds: how often everything is measured.
    """

    model: str
    tokens: int
    rows: int
    micro_batch: int
    rounds: int

    @property
    def mini_batch(self) -> int:
        """Rows of a mini-batch."""
        return self.rows // MINI_BATCHES

    @property
    def fractions(self) -> list[float]:
        """`FRACTIONS`, as close as whole rows come to them."""
        return [round(fraction * self.rows) / self.rows for fraction in FRACTIONS]

    @property
    def name(self) -> str:
        """For tables and the figure."""
        return f"{self.model}, {self.tokens} tokens"


@dataclass(frozen=True)
class Cost:
    """What one update took.

    Attributes:
        wall: seconds on the clock.
        cpu: CPU seconds of all threads.
        positions: token positions computed on, padding included.
        before: MB that the process held before the update.
        peak: MB that it held at most in the update.
    """

    wall: float
    cpu: float
    positions: int
    before: float
    peak: float


@dataclass
class Found:
    """A setting's measurements: a cost a round for the whole batch and for each fraction."""

    setting: Setting
    parameters: int
    whole: list[Cost] = field(default_factory=list)
    winners: dict[float, list[Cost]] = field(default_factory=dict)

    def ratios(self, fraction: float, of: Callable[[Cost], float]) -> list[float]:
        """Winners-only over whole, round by round."""
        return [of(ours) / of(full) for ours, full in zip(self.winners[fraction], self.whole, strict=True)]


def spread(values: Sequence[float]) -> str:
    """Median, least and greatest."""
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def wall(cost: Cost) -> float:
    """Seconds on the clock."""
    return cost.wall


def cpu(cost: Cost) -> float:
    """CPU seconds."""
    return cost.cpu


def time_rows(found: Found) -> list[str]:
    """Lines of the first table."""
    lines = []
    for fraction, costs in found.winners.items():
        seconds = [statistics.median(map(wall, some)) for some in (found.whole, costs)]
        positions = statistics.mean(found.ratios(fraction, lambda cost: cost.positions))
        cells = (
            found.setting.name,
            f"{fraction:.2g}",
            f"{positions:.3f}",
            *(f"{value:.2f}" for value in seconds),
            spread(found.ratios(fraction, wall)),
            spread(found.ratios(fraction, cpu)),
            str(len(costs)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def memory_rows(found: Found) -> list[str]:
    """Lines of the second table."""
    before, whole = (
        statistics.median(values) for values in zip(*((c.before, c.peak) for c in found.whole), strict=True)
    )
    lines = []
    for fraction, costs in found.winners.items():
        peak = statistics.median(cost.peak for cost in costs)
        added = found.ratios(fraction, lambda cost: max(cost.peak - cost.before, 1))
        cells = (found.setting.name, f"{fraction:.2g}", *(f"{value:,.0f}" for value in (before, whole, peak)))
        lines.append(f"| {' | '.join(cells)} | {peak / whole:.3f} | {spread(added)} |")
    return lines


def verdicts(results: Sequence[Found]) -> list[str]:
    """What is asked of the ratio, and what was measured, by the medians over the rounds."""
    lines = []
    for name, of in (("by the clock", wall), ("in CPU seconds", cpu)):
        large = {
            (found.setting.name, fraction): statistics.median(found.ratios(fraction, of)) - fraction
            for found in results
            if found.setting.model != "tiny"
            for fraction in found.winners
        }
        everything = {found.setting.name: statistics.median(found.ratios(1.0, of)) for found in results}
        if large:
            (worst, at), over = max(large.items(), key=lambda item: item[1])
            asked = f"ratio at most fraction + {LIMIT:g} for the 0.1B model"
            lines.append(
                f"- {name}, {asked}: **{_kept(over <= LIMIT)}**; the worst is {over:+.3f} at {at:.2g} ({worst})"
            )
        for model in dict.fromkeys(found.setting.model for found in results):
            worst, ratio = max(
                (item for item in everything.items() if item[0].startswith(model)), key=lambda item: item[1]
            )
            asked = f"at most {LIMIT_OF_ALL:g} when all win, {model}"
            lines.append(f"- {name}, {asked}: **{_kept(ratio <= LIMIT_OF_ALL)}**; the worst is {ratio:.3f} ({worst})")
    return lines


def _kept(held: bool) -> str:
    return "yes" if held else "no"


def conditions(results: Sequence[Found], note: str) -> str:
    """What the figures were taken on, without anything that names the machine."""
    facts = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.split(":")[1].strip() for line in facts if line.startswith("model name")), "unknown")
    load = " / ".join(f"{value:.1f}" for value in os.getloadavg())
    models = {found.setting.model: f"{found.setting.model} {found.parameters / 1e6:.1f} M" for found in results}
    batches = "; ".join(
        f"{found.setting.name}: {found.setting.rows} rows, micro-batches of {found.setting.micro_batch}"
        for found in results
    )
    return (
        f"{len(os.sched_getaffinity(0))} cores ({processor}), {torch.get_num_threads()} threads, Python "
        f"{platform.python_version()}, torch {version('torch')}, verl {version('verl')}. Load averages over 1, 5 and "
        f"15 minutes at the end: {load}. {note}".strip()
        + "\n\n"
        f"Qwen3 models with random float32 weights ({', '.join(models.values())}), FSDP2 on one rank, WAPO's loss "
        "with entropy, AdamW, fixed micro-batches padded to their longest row. A row has a prompt of a quarter of the "
        "mean length, and is half to one and a half times as long as the mean; winners are those of 200 "
        "draws that come closest to being as long as all rows. "
        f"{MINI_BATCHES} mini-batches a batch. {batches}."
    )


def page(results: Sequence[Found], note: str) -> str:
    """The whole of benchmarks/winners.md."""
    return f"""# The actor's update on winners alone

Written by `python -m benchmarks.winners`. {conditions(results, note)}

## Verdict

{chr(10).join(verdicts(results))}

## Time

Everything that veRL's training worker does for one batch; whole and winners-only take turns, and every round draws its
batch anew. Seconds are medians; ratios are winners-only over whole of the same round, median (least to greatest).
*Positions* is the share of token positions computed on, padding included: what the ratio would be without any cost
that does not depend on the rows.

| model, mean row | winners | positions | whole, s | winners-only, s | ratio, clock | ratio, CPU seconds | rounds |
|---|---|---|---|---|---|---|---|
{chr(10).join(line for found in results for line in time_rows(found))}

![the ratio against the winners' fraction](../docs/winners.png)

## Memory

The process's peak resident memory in an update, MB, by the kernel's high-water mark, which is set back before each;
medians over the rounds. *Before* is what is held between updates: Python, veRL, the weights, Adam's moments. A peak is
that of the largest micro-batch, so it falls where a mini-batch has fewer winners than a micro-batch has rows.

| model, mean row | winners | before | peak, whole | peak, winners-only | ratio | ratio of what an update adds |
|---|---|---|---|---|---|---|
{chr(10).join(line for found in results for line in memory_rows(found))}
"""


def draw(results: Sequence[Found], file: Path) -> None:
    """Write the figure: ratio against winner fraction, bars from the least to the greatest of the rounds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="black", linewidth=1, label="ratio = winner fraction")
    axes.plot([0, 1], [LIMIT, 1 + LIMIT], color="black", linewidth=0.8, linestyle=":", label=f"+ {LIMIT:g}")
    looks = (("#D55E00", "o"), ("#CC79A7", "s"), ("#0072B2", "^"), ("#009E73", "D"))
    for (colour, marker), found in zip(looks, results, strict=False):
        ratios = [found.ratios(fraction, wall) for fraction in found.winners]
        middle = [statistics.median(some) for some in ratios]
        ends = [
            [at - min(some) for at, some in zip(middle, ratios, strict=True)],
            [max(some) - at for at, some in zip(middle, ratios, strict=True)],
        ]
        label = f"{found.setting.name} a row"
        axes.errorbar(list(found.winners), middle, yerr=ends, color=colour, marker=marker, capsize=3, label=label)
    axes.set(xlabel="fraction of rows that win", ylabel="time of the actor's update, winners-only / whole batch")
    axes.set(xlim=(0, 1.05), ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(file, dpi=150)
