"""Draw a run as four small plots over the training step, without opening a window."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from examples.quickstart.metrics import ENTROPY, REWARD, WINNERS, Row

_LINE, _HELD_OUT = "#33658a", "#bc4b51"

Points = list[tuple[int, float]]


def curve(rows: Sequence[Row], key: str) -> Points:
    """Return (step, value) of each step that logged the metric."""
    return [(row.step, row.values[key]) for row in rows if key in row.values]


def held_out_curve(rows: Sequence[Row]) -> Points:
    """Return (step, held-out exact match) of each validation."""
    return [(row.step, row.held_out) for row in rows if row.held_out is not None]


def draw(rows: Sequence[Row], file: Path, title: str) -> None:
    """Write the PNG: reward, held-out exact match, entropy, winner fraction."""
    figure = Figure(figsize=(9.0, 6.0), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    (top_left, top_right), (bottom_left, bottom_right) = figure.subplots(2, 2)
    _plot(top_left, curve(rows, REWARD), "Reward in training", "mean reward (0 to 1)", share=True)
    _plot(
        top_right,
        held_out_curve(rows),
        "Held-out exact match",
        "share of questions (0 to 1)",
        share=True,
        colour=_HELD_OUT,
    )
    _plot(bottom_left, curve(rows, ENTROPY), "Entropy of the policy", "nats per token")
    _plot(bottom_right, curve(rows, WINNERS), "Winner fraction", "share of completions (0 to 1)", share=True)
    for axes in figure.axes:
        axes.set_xlim(-0.5, max((row.step for row in rows), default=0) + 0.5)
    figure.savefig(file, dpi=120)


def _plot(axes: Axes, points: Points, title: str, unit: str, *, share: bool = False, colour: str = _LINE) -> None:
    """Draw one plot, or "not logged" where there are no points."""
    axes.set(title=title, ylabel=unit, xlabel="training step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if not points:
        axes.text(0.5, 0.5, "not logged", transform=axes.transAxes, ha="center", va="center")
        return
    steps, values = zip(*points, strict=True)
    axes.plot(steps, values, color=colour, marker="o", markersize=3.5, linewidth=1.5)
    axes.set_ylim(*((0.0, 1.02) if share else (0.0, 1.1 * max(max(values), 1e-6))))
