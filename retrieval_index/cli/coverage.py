"""`python -m retrieval_index coverage`: what an index holds of a benchmark's rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from retrieval_index.cli.build import IndexPath
from retrieval_index.cli.console import err, one_sentence
from retrieval_index.coverage import DEPTH, QuestionCoverage, coverage, read_gold_rows
from retrieval_index.index import open_index

RANKS = (1, 5, 10, 20, DEPTH)
Found = Sequence[QuestionCoverage]


def coverage_command(
    index: IndexPath,
    rows: Annotated[Path, typer.Argument(metavar="ROWS", help="Parquet file that `wapo-verl prepare` wrote.")],
    top_k: Annotated[int, typer.Option(help="Results that the policy will see of a search.")] = 3,
    searches: Annotated[int, typer.Option(help="Searches that the policy may make.")] = 4,
    worst: Annotated[int, typer.Option(help="Questions to list, the worst first.")] = 5,
    limit: Annotated[int | None, typer.Option(help="At most so many rows.")] = None,
    out_file: Annotated[Path | None, typer.Option("--out", help="Also write a JSON line a question here.")] = None,
) -> None:
    """Tell how much of a benchmark an index can answer: gold documents, answers, ranks, the ceiling of the score."""
    with one_sentence():
        for name, value in (("--top-k", top_k), ("--searches", searches)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        gold_rows = read_gold_rows(rows)[:limit]
        if not gold_rows:
            raise ValueError(f"{rows} has no rows")
        each = coverage(open_index(index), gold_rows, top_k, searches)
        found = list(track(each, "searching", len(gold_rows), console=err, transient=True))
        if out_file is not None:
            out_file.write_text("".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in found))
        out = Console()
        for table in (_documents(found), _ranks(found), _ceiling(found, top_k, searches)):
            out.print(table)
        _print_worst(found, worst, top_k, searches, out)


def _documents(found: Found) -> Table:
    table = Table("", "", title=f"{len(found):,} questions", title_justify="left")
    with_gold = [one for one in found if one.row.document_ids]
    spoken = [one for one in found if one.in_index is None]
    named = [one for one in with_gold if one.in_gold is not None]
    table.add_row("every gold document is in the index", _share(with_gold, lambda one: not one.missing))
    table.add_row("a gold document holds the answer", _share(named, lambda one: bool(one.in_gold)))
    table.add_row("a document was found that holds it", _share([*found], lambda one: bool(one.in_index), len(spoken)))
    table.add_row("yes-or-no questions, whose answer no text holds", str(len(spoken)))
    return table


def _ranks(found: Found) -> Table:
    table = Table("gold documents among the first", *map(str, RANKS), title_justify="left")
    for name, ranks in (
        ("for the question", [rank for one in found for rank in one.question_ranks]),
        ("for their own title", [rank for one in found for rank in one.title_ranks]),
    ):
        reached = [sum(rank is not None and rank <= most for rank in ranks) for most in RANKS]
        table.add_row(name, *(f"{count / len(ranks):.3f}" if ranks else "-" for count in reached))
    return table


def _ceiling(found: Found, top_k: int, searches: int) -> Table:
    """Tabulate the ceiling of exact match: the share of questions whose answer was read after so many searches."""
    table = Table(f"searches, {top_k} results each", *map(str, range(1, searches + 1)), title_justify="left")
    reached = [
        sum(one.searches is not None and one.searches <= most for one in found) for most in range(1, searches + 1)
    ]
    table.add_row("a reader without mistakes has read the answer", *(f"{count / len(found):.3f}" for count in reached))
    return table


def _print_worst(found: Found, count: int, top_k: int, searches: int, out: Console) -> None:
    for one in sorted(found, key=_badness, reverse=True)[:count]:
        if one.missing:
            why = f"not in the index: {', '.join(one.missing)}"
        elif one.searches is None:
            why = f"not read in {searches} searches of {top_k} results; ranks for the question: {_shown(one)}"
        else:
            why = f"read after {one.searches} searches; ranks for the question: {_shown(one)}"
        out.print(f"[bold]{escape(one.row.question)}[/bold]  {escape(one.row.id)}", highlight=False)
        out.print(escape(f"  {' | '.join(one.row.answers)}: {why}"), highlight=False)


def _badness(one: QuestionCoverage) -> tuple[int, bool, int, int]:
    ranks = [rank or DEPTH + 1 for rank in one.question_ranks]
    return len(one.missing), one.searches is None, one.searches or 0, sum(ranks)


def _shown(one: QuestionCoverage) -> str:
    pairs = zip(one.row.document_ids, one.question_ranks, strict=True)
    return ", ".join(f"{name} {'-' if rank is None else rank}" for name, rank in pairs) or "no gold documents"


def _share(those: Found, is_so: Callable[[QuestionCoverage], bool], left_out: int = 0) -> str:
    total = len(those) - left_out
    return f"{sum(map(is_so, those)) / total:.3f} of {total:,}" if total else "-"
