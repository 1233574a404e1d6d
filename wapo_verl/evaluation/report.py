"""A comparison as a reader sees it: tables for the terminal and for Markdown, and everything as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wapo_verl.evaluation.comparison import POOLED, Compared, Comparison, Summary
from wapo_verl.evaluation.intervals import LEVEL, Estimate
from wapo_verl.evaluation.metrics import MEAN
from wapo_verl.evaluation.records import SIZES

NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of texts."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def grids(comparison: Comparison) -> Iterator[Grid]:
    """Make the tables: of one evaluation a row a data source, of several each data source with their differences."""
    if len({summary.evaluation for summary in comparison.summaries}) == 1 < len(comparison.summaries):
        yield _suite_grid(comparison)
        return
    for source in dict.fromkeys(summary.data_source for summary in comparison.summaries):
        yield _source_grid(comparison, [each for each in comparison.summaries if each.data_source == source])
        differences = [each for each in comparison.differences if each.data_source == source]
        if differences:
            yield _difference_grid(differences)


def _suite_grid(comparison: Comparison) -> Grid:
    """Make the table of one evaluation of several data sources, and of their plain average, each weighing the same."""
    summaries = [summary for summary in comparison.summaries if summary.data_source != POOLED]
    metrics = list(dict.fromkeys(metric for summary in summaries for metric in summary.metrics))
    rows = [
        (
            summary.data_source,
            f"{summary.questions:,}",
            _range(summary.samples),
            _failed(summary.failed),
            *(_estimate(summary, metric, interval=metric == MEAN) for metric in metrics),
        )
        for summary in summaries
    ]
    averages = [_average(summaries, metric) for metric in metrics]
    rows.append(("average", "", "", "", *averages))
    title = f"{summaries[0].evaluation}, {comparison.metric}"
    return Grid(title, ("", "questions", "samples", "failed", *metrics), tuple(rows))


def _average(summaries: Sequence[Summary], metric: str) -> str:
    """Return the mean of the data sources' means and its standard error; a dash where one of them has none."""
    found = [summary.metrics.get(metric) for summary in summaries]
    means = [math.nan if each is None else each.mean for each in found]
    errors = [math.nan if each is None else each.standard_error for each in found]
    if any(map(math.isnan, means)):
        return NOTHING
    mean, error = sum(means) / len(means), math.hypot(*errors) / len(errors)
    if metric in SIZES:
        return f"{mean:,.1f}"
    return f"{mean:.3f}" if math.isnan(error) else f"{mean:.3f} ± {error:.3f}"


def _source_grid(comparison: Comparison, summaries: Sequence[Summary]) -> Grid:
    first = summaries[0]
    name = {POOLED: "all questions", "": "rows of a dump"}.get(first.data_source, first.data_source)
    metrics = list(dict.fromkeys(metric for summary in summaries for metric in summary.metrics))
    rows = [
        ("samples a question", *(_range(summary.samples) for summary in summaries)),
        ("failed", *(_failed(summary.failed) for summary in summaries)),
        *((metric, *(_estimate(summary, metric) for summary in summaries)) for metric in metrics),
    ]
    title = f"{name}: {first.questions:,} questions, {comparison.metric}"
    return Grid(title, ("", *(summary.evaluation for summary in summaries)), tuple(rows))


def _range(ends: tuple[int, int]) -> str:
    return str(ends[0]) if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def _failed(failed: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in failed.items()) or "0"


def _estimate(summary: Summary, metric: str, interval: bool = True) -> str:
    """Return one cell: mean, standard error, interval; sizes as a mean alone."""
    found = summary.metrics.get(metric)
    if found is None or math.isnan(found.mean):
        return NOTHING
    if metric in SIZES:
        return f"{found.mean:,.1f}"
    text = f"{found.mean:.3f}{_spread(found, interval)}"
    if found.questions < summary.questions:
        text += f" ({found.questions:,} questions)"
    error = summary.sampling_errors.get(metric)
    return f"{text} (subsets ± {error:.4f})" if error else text


def _spread(found: Estimate, interval: bool) -> str:
    if math.isnan(found.standard_error):
        return ""
    ends = f" [{found.low:.3f}, {found.high:.3f}]" if interval and not math.isnan(found.low) else ""
    return f" ± {found.standard_error:.3f}{ends}"


def _difference_grid(differences: Sequence[Compared]) -> Grid:
    header: tuple[str, ...] = (
        *("", "difference [95 %]", "p", "p (Holm)", "won", "lost"),
        *("questions needed", "samples needed"),
    )
    rows = tuple(_difference_row(each) for each in differences)
    if len({each.second for each in differences}) == 1:  # nothing to correct for
        header, rows = _without(header, 3), tuple(_without(row, 3) for row in rows)
    return Grid(f"differences from {differences[0].first}, paired by question", header, rows)


def _without(row: tuple[str, ...], place: int) -> tuple[str, ...]:
    return row[:place] + row[place + 1 :]


def _difference_row(each: Compared) -> tuple[str, ...]:
    found = each.difference
    estimate = found.estimate
    interval = "" if math.isnan(estimate.low) else f" [{estimate.low:+.3f}, {estimate.high:+.3f}]"
    return (
        f"{each.second}, {each.metric}",
        f"{estimate.mean:+.3f}{interval}",
        p_text(found.p_value),
        p_text(each.p_holm),
        f"{found.won:.1%}",
        f"{found.lost:.1%}",
        *(NOTHING if count is None else f"{count:,}" for count in (found.questions_needed, found.samples_needed)),
    )


def p_text(p_value: float) -> str:
    """Return a p-value as text: three decimals, small ones as a bound."""
    if math.isnan(p_value):
        return NOTHING
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}"


def methods(comparison: Comparison) -> str:
    """Return one sentence that says how the numbers were made."""
    ways = sorted(
        {
            estimate.method
            for summary in comparison.summaries
            for metric, estimate in summary.metrics.items()
            if estimate.method and metric not in SIZES
        }
    )
    paired = sorted({each.difference.estimate.method for each in comparison.differences} - {""})
    parts = [
        "mean over questions ± standard error, clustered by question",
        f"{LEVEL:.0%} intervals: {', '.join(ways)}",
        f"failed samples: {comparison.failures}",
    ]
    if paired:
        parts += [
            f"differences: {', '.join(paired)}",
            "p: permutation test, paired by question, two-sided",
            "needed: for power .8 to see a difference as large, with as many samples or on as many questions",
        ]
    return "; ".join(parts)


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print the tables, how the numbers were made, and what was left out."""
    for grid in grids(comparison):
        paired = grid.title.startswith("differences")  # whose second column stays on one line
        table = Table(
            title=grid.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True
        )
        for column, name in enumerate(grid.header):
            kept = column < 1 + paired  # on one line
            table.add_column(Text(name), justify="right" if column else "left", no_wrap=kept, overflow="fold")
        for row in grid.rows:
            table.add_row(*map(Text, row))
        console.print(table)
    console.print(methods(comparison), markup=False, highlight=False, soft_wrap=True)
    for note in comparison.notes:
        console.print(f"note: {note}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def markdown(comparison: Comparison) -> str:
    """Return the same as Markdown."""
    parts = []
    for grid in grids(comparison):
        lines = [grid.header, tuple("---" if column else ":--" for column in range(len(grid.header))), *grid.rows]
        parts.append(f"**{grid.title}**\n\n" + "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines))
    parts.append(methods(comparison) + ".")
    parts += [f"Note: {note}." for note in comparison.notes]
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def as_json(comparison: Comparison, official: Mapping[str, Mapping[str, float]] | None = None) -> str:
    """Return everything as JSON; what there is none of is null. `official` is a key where there is any."""
    found = _plain(asdict(comparison)) | ({"official": official} if official else {})
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def official_lines(official: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return a line for each data source that has upstream's numbers (`official_scores`)."""
    return [
        f"{source}, as its official script computes it: "
        + ", ".join(f"{metric} {number:.4f}" for metric, number in numbers.items())
        for source, numbers in official.items()
    ]


def write(
    comparison: Comparison,
    folder: Path,
    name: str = "comparison",
    official: Mapping[str, Mapping[str, float]] | None = None,
) -> list[Path]:
    """Write `NAME.md`, `NAME.json` and `NAME.png` into a folder, and return the files.

    Args:
        comparison: what was computed.
        folder: where to write.
        name: of the files.
        official: upstream's numbers by data source; they become lines of the Markdown and a key of the JSON.
    """
    from wapo_verl.evaluation.figure import draw

    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.{kind}" for kind in ("md", "json", "png")]
    text = markdown(comparison) + "".join(f"\n{line}.\n" for line in official_lines(official or {}))
    files[0].write_text(text, encoding="utf-8")
    files[1].write_text(as_json(comparison, official), encoding="utf-8")
    draw(comparison, files[2])
    return files
