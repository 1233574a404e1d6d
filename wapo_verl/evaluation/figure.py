"""The picture of a comparison: pass@k by k with bands, and the differences with their intervals."""

from __future__ import annotations

import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import NullLocator

from wapo_verl.evaluation.comparison import Comparison
from wapo_verl.evaluation.metrics import MEAN

COLOURS = ("#33658a", "#bc4b51", "#5b8c5a", "#8f5ea2", "#c77d1e", "#4f4f4f")


def draw(comparison: Comparison, file: Path) -> None:
    """Write the PNG: a row a data source; left what each evaluation reaches, right how it differs from the first."""
    sources = list(dict.fromkeys(summary.data_source for summary in comparison.summaries))
    columns = 2 if comparison.differences else 1
    figure = Figure(
        figsize=(5.2 * columns, 0.6 + 3.1 * len(sources)), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(sources), columns, squeeze=False)
    for row, source in enumerate(sources):
        _reached(comparison, source, axes[row][0])
        if columns > 1:
            _differences(comparison, source, axes[row][1])
    figure.savefig(file, dpi=150)


def _reached(comparison: Comparison, source: str, axes: Axes) -> None:
    """Draw pass@k by k where there are several k, else the means."""
    curves = [curve for curve in comparison.curves if curve.data_source == source and len(curve.ks) > 1]
    for place, curve in enumerate(curves):
        colour = COLOURS[place % len(COLOURS)]
        points = [point.mean for point in curve.points]
        axes.plot(curve.ks, points, color=colour, marker="o", markersize=3, label=curve.evaluation)
        low, high = [point.low for point in curve.points], [point.high for point in curve.points]
        axes.fill_between(curve.ks, low, high, color=colour, alpha=0.15, linewidth=0)
    if curves:
        axes.set_xscale("log", base=2)
        axes.set_xticks(curves[0].ks, [str(k) for k in curves[0].ks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set(xlabel="k", ylabel=f"pass@k ({comparison.metric})")
        axes.legend(frameon=False, fontsize=8)
    else:
        summaries = [summary for summary in comparison.summaries if summary.data_source == source]
        for place, summary in enumerate(summaries):
            found = summary.metrics[MEAN]
            _bar(axes, place, found.mean, found.low, found.high, COLOURS[place % len(COLOURS)], across=False)
        axes.set_xticks(range(len(summaries)), [summary.evaluation for summary in summaries])
        axes.set(xlim=(-0.6, len(summaries) - 0.4), ylabel=f"{comparison.metric}, mean")
    axes.set_title(source or "rows of a dump", fontsize=10)
    _plain(axes)


def _differences(comparison: Comparison, source: str, axes: Axes) -> None:
    """Draw each evaluation's difference from the first, mean first, from the top down."""
    found = [each for each in comparison.differences if each.data_source == source]
    evaluations = [summary.evaluation for summary in comparison.summaries if summary.data_source == source]
    for place, each in enumerate(found):
        estimate = each.difference.estimate
        colour = COLOURS[evaluations.index(each.second) % len(COLOURS)]
        _bar(axes, -place, estimate.mean, estimate.low, estimate.high, colour, across=True)
    axes.axvline(0, color="0.5", linewidth=0.8)
    axes.set_yticks([-place for place in range(len(found))], [f"{each.second}, {each.metric}" for each in found])
    axes.set_ylim(-len(found) + 0.4, 0.6)
    axes.set(xlabel="difference, 95 % interval")
    axes.set_title(f"difference from {found[0].first}" if found else "", fontsize=10)
    _plain(axes)


def _bar(axes: Axes, place: float, mean: float, low: float, high: float, colour: str, across: bool) -> None:
    lengths = None if math.isnan(low) else [[mean - low], [high - mean]]
    x, y, beside, above = (mean, place, lengths, None) if across else (place, mean, None, lengths)
    axes.errorbar([x], [y], xerr=beside, yerr=above, fmt="o", color=colour, capsize=3, markersize=4)


def _plain(axes: Axes) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
