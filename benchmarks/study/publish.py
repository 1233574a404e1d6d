"""Put a study's tables, figure and runs where the project shows them: README.md, docs/study.md, docs/study.png, and the
archive of all runs.

A table stands between `<!-- study: NAME -->` and `<!-- end -->`. The words around it are written by hand.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.study.fair import protocols
from benchmarks.study.fair_figure import draw_fair
from benchmarks.study.fair_report import legend, progress, results, tuning_table
from benchmarks.study.records import Record, cells_folder, read_records
from benchmarks.study.report import overview
from benchmarks.study.settings import TASKS, task_folder

PAGES = ("README.md", "docs/study.md")
FIGURE = "docs/study.png"
ARCHIVE = "benchmarks/study_runs.tar.xz"

FIRST_GRID = ("wapo", "grpo_ref", "gspo_ref", "cpgd"), (1e-3, 2e-3, 3e-3, 4e-3), range(5)
"""Methods, learning rates and seeds of the grid that came before the comparison."""

_MARKED = re.compile(r"(?<=<!-- study: )(?P<name>[^>]+)(?P<open> -->\n).*?(?=<!-- end -->)", re.DOTALL)


def blocks(out: Path) -> dict[str, str]:
    """The tables of a study's folder by their names; those of a task without a finished run are empty.

    Raises:
        ValueError: as `records.read_records`, of the first task.
    """
    found: dict[str, str] = {}
    for task in TASKS:
        folder = task_folder(out, task)
        if not any(cells_folder(folder).glob("*.jsonl")):
            continue
        records = read_records(folder)
        for protocol in protocols(records):
            name = f"{task}, {protocol.off_policy_steps} a step"
            found[f"results of {name}"] = results(records, protocol)
            found[f"rates of {name}"] = tuning_table(records, protocol)
            found[f"missing of {name}"] = progress(records, protocol)
            found.setdefault("columns", legend(protocol) + "\n")
    found["first grid"] = overview(first_grid(read_records(out)))
    return found


def first_grid(records: list[Record]) -> list[Record]:
    """The grid that came before the comparison, of the methods whose definition has not changed since."""
    names, rates, seeds = FIRST_GRID
    return [
        record
        for record in records
        if record.cell.algorithm in names and record.cell.learning_rate in rates and record.cell.seed in seeds
    ]


def filled(text: str, tables: Mapping[str, str]) -> str:
    """A page with these tables in the places of the old ones.

    Raises:
        ValueError: where the page names a table that there is not.
    """

    def table(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in tables:
            raise ValueError(f"the study has no table {name!r}; there are {', '.join(tables)}")
        return f"{name}{found['open']}\n{tables[name]}\n" if tables[name] else f"{name}{found['open']}"

    return _MARKED.sub(table, text)


def publish(out: Path, project: Path) -> None:
    """Write pages, figure and archive.

    Args:
        out: the study's folder.
        project: the checkout.

    Raises:
        ValueError: as `blocks` and `filled`; then nothing is written.
    """
    tables, records = blocks(out), read_records(out)
    pages = {project / page: filled((project / page).read_text(), tables) for page in PAGES}
    for page, text in pages.items():
        page.write_text(text)
    draw_fair(records, protocols(records)[0], project / FIGURE)
    pack(out, project / ARCHIVE)


def pack(out: Path, archive: Path) -> None:
    """Write all finished runs into an archive, byte by byte the same for the same runs."""
    folders = [cells_folder(task_folder(out, task)) for task in TASKS]
    with tarfile.open(archive, "w:xz", preset=9) as packed:
        for file in sorted(file for folder in folders for file in folder.glob("*.jsonl")):
            entry = tarfile.TarInfo(str(file.relative_to(out)))
            content = file.read_bytes()
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
