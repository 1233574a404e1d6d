"""The study's figure: exact match and entropy by step, a small plot for each learning rate and number of updates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from benchmarks.study.collapse import trailing_means
from benchmarks.study.records import ENTROPY, REWARD, Record
from benchmarks.study.summary import by_condition

LOOKS = (
    ("#000000", "-"),
    ("#D55E00", "-"),
    ("#E69F00", "--"),
    ("#CC79A7", "-."),
    ("#56B4E9", "-"),
    ("#009E73", "--"),
    ("#0072B2", "-."),
    ("#666666", ":"),
    ("#999999", "--"),
)
"""Okabe and Ito's colours, which colour-blind readers tell apart, and line styles, which print in grey."""

ROWS = ((REWARD, "exact match in training"), (ENTROPY, "entropy, nats a token"))


def draw(records: Sequence[Record], file: Path) -> None:
    """Write the PNG: lines are medians over the seeds, shades reach from the least to the greatest."""
    conditions = by_condition(records)
    rates = sorted({key.learning_rate for key in conditions})
    updates = sorted({key.off_policy_steps for key in conditions})
    names = list(dict.fromkeys(key.algorithm for key in sorted(conditions, key=lambda key: (key.place, key.algorithm))))
    looks = {name: LOOKS[place % len(LOOKS)] for place, name in enumerate(names)}
    figure = Figure(
        figsize=(3.9 * len(rates) + 0.6, 2.5 * len(updates) * len(ROWS) + 0.9),
        layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06),
    )
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(updates) * len(ROWS), len(rates), sharex=True, sharey="row", squeeze=False)
    for key, found in conditions.items():
        column, block = rates.index(key.learning_rate), updates.index(key.off_policy_steps)
        for place, (metric, _) in enumerate(ROWS):
            axes = grid[block * len(ROWS) + place][column]
            _plot(axes, found, metric, looks[key.algorithm], key.algorithm)
    for row, axes_row in enumerate(grid):
        metric, unit = ROWS[row % len(ROWS)]
        for axes, rate in zip(axes_row, rates, strict=True):
            _finish(axes, metric, f"{_updates(updates[row // len(ROWS)])}, learning rate {rate:g}")
        axes_row[0].set_ylabel(unit)
    for axes in grid[-1]:
        axes.set_xlabel("training step")
    lines = {line.get_label(): line for axes in figure.axes for line in axes.get_lines()}
    figure.legend([lines[name] for name in names], names, loc="outside upper center", ncols=len(names), frameon=False)
    figure.savefig(file, dpi=90)


def _plot(axes: Axes, records: Sequence[Record], metric: str, look: tuple[str, str], name: str) -> None:
    curves = [trailing_means([value for _, value in record.curve(metric)]) for record in records]
    steps = [step for step, _ in records[0].curve(metric)]
    colour, style = look
    axes.fill_between(steps, list(map(min, zip(*curves, strict=True))), list(map(max, zip(*curves, strict=True))),
                      color=colour, alpha=0.08, linewidth=0)  # fmt: skip
    axes.plot(
        steps, list(map(median, zip(*curves, strict=True))), color=colour, linestyle=style, linewidth=1.6, label=name
    )


def _finish(axes: Axes, metric: str, title: str) -> None:
    axes.set_title(title, fontsize=9)
    if not axes.get_lines():
        axes.text(0.5, 0.5, "not run", transform=axes.transAxes, ha="center", va="center", color="#666666")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if metric == REWARD:
        axes.set_ylim(0.0, 1.02)
    else:
        axes.set_yscale("log")


def _updates(count: int) -> str:
    return "1 update a step" if count == 1 else f"{count} updates a step"
