"""The fair comparison's figure: the methods over learning rates, and pass@k where they were reported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from benchmarks.study.fair import Protocol
from benchmarks.study.fair_report import Method, methods, warm_starts
from benchmarks.study.figure import LOOKS
from benchmarks.study.metrics import PASS_KS
from benchmarks.study.records import Record

BEFORE = "before training"


def draw_fair(records: Sequence[Record], protocol: Protocol, file: Path) -> None:
    """Write the PNG: on the left means over the tuning seeds by learning rate, on the right pass@k on fresh seeds."""
    found = [one for one in methods(records, protocol) if one.tuning.tried]
    rates = sorted({rate for one in found for rate in one.tuning.tried})
    figure = Figure(figsize=(9.6, 4.2), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06))
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for place, one in enumerate(found):
        colour, style = LOOKS[place % len(LOOKS)]
        marker = "os^D"[place // len(LOOKS)]
        heights = [tried.held_out for tried in one.tuning.tried.values()]
        left.plot(
            list(one.tuning.tried), heights, color=colour, linestyle=style, marker=marker, markersize=4, label=one.name
        )
        chances = [one.ends(f"val/pass@{k}") for k in PASS_KS]
        if all(chances):
            curve = [mean(values.values()) for values in chances]
            right.plot(PASS_KS, curve, color=colour, linestyle=style, marker=marker, markersize=4)
    _before(right, found)
    left.set(xscale="log", xlabel="learning rate", ylabel="held-out exact match", ylim=(-0.02, 1.02))
    left.minorticks_off()
    left.set_xticks(rates, [f"{rate:g}" for rate in rates], fontsize=8)
    left.set_title("tuning seeds, after the last step", fontsize=9)
    right.set(xscale="log", xlabel="k", ylabel="pass@k", ylim=(-0.02, 1.02))
    right.minorticks_off()
    right.set_xticks(PASS_KS, [str(k) for k in PASS_KS])
    right.set_title("fresh seeds, each method at its own best rate", fontsize=9)
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    handles = [line for axes in (left, right) for line in axes.get_lines() if not str(line.get_label()).startswith("_")]
    figure.legend(handles=handles, loc="outside upper center", ncols=6, frameon=False, fontsize=8)
    figure.savefig(file, dpi=110)


def _before(axes: Axes, found: Sequence[Method]) -> None:
    """The warm-started policies that the reported runs started from."""
    curves = [
        [float(start[f"val/pass@{k}"]) for k in PASS_KS]
        for start in warm_starts(found).values()
        if all(f"val/pass@{k}" in start for k in PASS_KS)
    ]
    if curves:
        axes.plot(PASS_KS, [mean(column) for column in zip(*curves, strict=True)], color="#888888", linewidth=3,
                  alpha=0.6, label=BEFORE)  # fmt: skip
