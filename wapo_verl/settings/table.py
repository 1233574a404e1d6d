"""Print what a run's settings came to, once at its start."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wapo_verl.algorithms import Conflict
from wapo_verl.rollout.failures import GROUP as FAILURES
from wapo_verl.settings.decide import Run
from wapo_verl.settings.defaults import USER, ResolvedKey
from wapo_verl.settings.keys import NAMESPACE, SettingsError
from wapo_verl.training.decisions import Decisions

TABLE_WIDTH = 150  # columns; a log file has no width of its own, and a cut key helps nobody


def report(
    resolved: Sequence[ResolvedKey], conflicts: Sequence[Conflict], aside: Sequence[str], console: Console | None
) -> None:
    """Print the table of resolved keys, a line for each origin in `aside`, and the warnings; raise the errors.

    Raises:
        SettingsError: where there is an error among the conflicts; the message has them all.
    """
    console = console or Console(width=max(Console().width, TABLE_WIDTH))
    shown = [entry for entry in resolved if entry.origin not in aside]
    if shown:
        console.print(_table(shown))
    for origin in dict.fromkeys(aside):
        settings = ", ".join(f"{entry.key}={entry.value}" for entry in resolved if entry.origin == origin)
        if settings:
            console.print(f"also set for {origin}: {settings}", markup=False, highlight=False, soft_wrap=True)
    for conflict in conflicts:
        if conflict.level == "warning":
            console.print(f"[yellow]warning[/]: {escape(conflict.key)}: {escape(conflict.message)}", soft_wrap=True)
    errors = [f"{conflict.key}: {conflict.message}" for conflict in conflicts if conflict.level == "error"]
    if errors:
        raise SettingsError("; ".join(errors))


def _table(resolved: Sequence[ResolvedKey]) -> Table:
    table = Table(title="settings resolved by wapo-verl", title_justify="left", box=None, pad_edge=False)
    for column in ("key", "value", "set by"):
        table.add_column(column, no_wrap=True)
    table.add_column("why")  # breaks its lines, where it would cut the other columns
    for entry in resolved:
        style = "bold" if entry.origin == USER else ""
        table.add_row(escape(entry.key), escape(str(entry.value)), entry.origin, escape(entry.note), style=style)
    return table


def plan_lines(run: Run, decisions: Decisions) -> Iterator[ResolvedKey]:
    """Yield the table's lines of the keys of a step's plan that the user set."""
    weights = ", ".join(f"{name} {weight:g}" for name, weight in (decisions.plans.weights or {}).items())
    clip = decisions.plans.clip
    for group in run.keys.planned:
        model = getattr(run.keys, group)
        if model is True:
            yield ResolvedKey("wapo.winners_kl", True, USER, "the KL loss acts on tokens with an advantage alone")
            continue
        for name, value in model.model_dump(exclude_unset=True).items():
            note = ""
            if group == "negative_weights" or name.endswith("_bins"):
                note = f"weights: {weights}"
            elif name == "kind" and clip is not None:
                note = f"clip_ratio_high from {clip.start:g} to {clip.at(1_000, 1_000):g}"
            yield ResolvedKey(f"{NAMESPACE}.{group}.{name}", str(value), USER, note)


def failures_line(run: Run, decisions: Decisions) -> Iterator[ResolvedKey]:
    """Yield the table's line of the failure budget, where there is one."""
    budget = decisions.failures
    if budget.share:
        by_user = run.keys.failures is not None and run.keys.failures.budget is not None
        what = "may fail and are left out" if by_user else "may fail in their searches and are left out"
        origin = USER if by_user else "search_agent"
        yield ResolvedKey(f"{FAILURES}.budget", budget.share, origin, f"share of a step's episodes that {what}")


def winners_only_line(run: Run, decisions: Decisions) -> Iterator[ResolvedKey]:
    """Yield the table's line of `wapo.winners_only`, where the algorithm or the user speaks of it."""
    if not decisions.winners_only and decisions.why_all_rows is None:
        return
    note = "updates leave out the rows without an advantage"
    if not decisions.winners_only:
        note = f"off: {decisions.why_all_rows}"
    by_user = run.keys.winners_only is not None or run.algorithm is None
    origin = USER if by_user else str(decisions.algorithm)
    yield ResolvedKey(f"{NAMESPACE}.winners_only", decisions.winners_only, origin, note)
