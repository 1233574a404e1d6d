"""Draw docs/overview.svg, the picture of how a step of WAPO works: `python docs/site/draw_overview.py`.

One group is shown with numbers: four completions of a question, their rewards and advantages, and who is trained on.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

OUT = Path(__file__).parents[1] / "overview.svg"
INK, SOFT, WIN, LOSE, BLUE = "#1f2430", "#6b7280", "#1a7f4b", "#b9bec8", "#3949ab"
COMPLETIONS = (
    ("search, search, answer", "right", 1.0),
    ("search, answer", "wrong", 0.0),
    ("search, search, answer", "right", 1.0),
    ("no answer", "turn limit", 0.0),
)


def box(axes: Axes, x: float, y: float, width: float, height: float, edge: str, fill: str = "white") -> None:
    """Draw a rounded box with its lower left corner at (x, y)."""
    shape = FancyBboxPatch(
        (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.9", linewidth=1.4, edgecolor=edge, facecolor=fill
    )
    axes.add_patch(shape)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    """Draw a straight arrow."""
    axes.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=13, linewidth=1.5, color=colour, shrinkA=0, shrinkB=0
        )
    )


def path(axes: Axes, points: list[tuple[float, float]], colour: str) -> None:
    """Draw lines through the points, the last one an arrow."""
    for start, end in itertools.pairwise(points[:-1]):
        axes.plot(*zip(start, end, strict=True), color=colour, linewidth=1.5, solid_capstyle="round")
    arrow(axes, points[-2], points[-1], colour)


def head(axes: Axes, x: float, title: str, where: str) -> None:
    """Write a column's title, and below it the part of the code or of veRL that does it."""
    axes.text(x, 42.2, title, ha="center", va="center", fontsize=11.5, weight="bold", color=INK)
    axes.text(x, 39.4, where, ha="center", va="center", fontsize=8.6, color=SOFT)


def draw_completions(axes: Axes) -> None:
    """Draw the group of the example: each completion's row from the rollout to the update."""
    mean = sum(reward for *_, reward in COMPLETIONS) / len(COMPLETIONS)
    for number, (turns, outcome, reward) in enumerate(COMPLETIONS):
        y = 30.5 - 7 * number
        advantage = reward - mean
        won = advantage > 0
        colour = WIN if won else LOSE
        text = INK if won else SOFT
        box(axes, 21, y, 22, 5, colour, "#f1faf5" if won else "white")
        axes.text(32, y + 2.5, turns, ha="center", va="center", fontsize=9.5, color=text)
        arrow(axes, (43.6, y + 2.5), (48.4, y + 2.5), colour)
        axes.text(53.5, y + 3.4, f"r = {reward:g}", ha="center", va="center", fontsize=10, color=text)
        axes.text(53.5, y + 1.2, outcome, ha="center", va="center", fontsize=8.2, color=SOFT)
        arrow(axes, (58.6, y + 2.5), (63.4, y + 2.5), colour)
        sign = "+" if won else "−"
        axes.text(68.5, y + 2.5, f"A = {sign}{abs(advantage):g}", ha="center", va="center", fontsize=10, color=text)
        if won:
            way = [(73.6, y + 2.5), (90, y + 2.5), (90, 24.1)] if y > 20 else [(73.6, y + 2.5), (81.6, y + 2.5)]
            path(axes, way, WIN)
        else:
            axes.plot([74.2, 75.6], [y + 2.5, y + 2.5], color=LOSE, linewidth=1.5)
            axes.plot([75.6, 75.6], [y + 1.5, y + 3.5], color=LOSE, linewidth=1.5)
            axes.text(76.4, y + 2.5, "not computed", ha="left", va="center", fontsize=8.2, color=SOFT, style="italic")


def main() -> None:
    """Write the picture."""
    plt.rcParams["svg.hashsalt"] = "wapo-verl"  # the same file every time
    plt.rcParams["font.family"] = "DejaVu Sans"
    figure, axes = plt.subplots(figsize=(11, 5.1))
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 46)
    axes.axis("off")

    head(axes, 9, "Question", "a parquet row")
    head(axes, 32, "Group of completions", "vLLM + agent loop")
    head(axes, 53.5, "Reward", "the row's verifier")
    head(axes, 68.5, "Advantage", "r − group mean")
    head(axes, 90, "Update", "winners alone, FSDP2")

    box(axes, 2, 18, 14, 6, BLUE, "#eef0fb")
    axes.text(9, 21, "Which school did\nthe author attend?", ha="center", va="center", fontsize=8.2, color=INK)
    for number in range(len(COMPLETIONS)):
        arrow(axes, (16.4, 21), (20.6, 33 - 7 * number), BLUE)
    draw_completions(axes)

    box(axes, 82, 14.3, 16, 9.4, WIN, "#f1faf5")
    axes.text(90, 20.4, "−min(ρA, (1+ε)A)", ha="center", va="center", fontsize=10, color=INK)
    axes.text(90, 17, "clipped above,\nnobody punished", ha="center", va="center", fontsize=8.2, color=SOFT)

    box(axes, 21, 0.4, 13, 4.6, BLUE, "#eef0fb")
    axes.text(27.5, 2.7, "BM25 index", ha="center", va="center", fontsize=9, color=INK)
    arrow(axes, (26.2, 9), (26.2, 5.4), BLUE)
    arrow(axes, (28.8, 5.4), (28.8, 9), BLUE)
    axes.text(25.5, 7.2, "query", ha="right", va="center", fontsize=8, color=SOFT)
    axes.text(29.5, 7.2, "passages", ha="left", va="center", fontsize=8, color=SOFT)

    path(axes, [(90, 13.9), (90, 4.4), (39.5, 4.4), (39.5, 9)], BLUE)
    axes.text(65, 2.6, "new weights after every step", ha="center", va="center", fontsize=8.8, color=SOFT)
    figure.savefig(OUT, bbox_inches="tight", pad_inches=0.05, metadata={"Date": None})


if __name__ == "__main__":
    main()
