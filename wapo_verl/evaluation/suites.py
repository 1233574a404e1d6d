"""Suites: the data sets that people report together, each under its own name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from wapo_verl.evaluation.rows import bare_name

SUITES = {
    "search": ("nq", "triviaqa", "popqa", "searchR1_hotpotqa", "2wikimultihopqa", "musique", "bamboogle"),
    "math": ("math500", "gsm8k", "amc23", "aime24", "aime25", "minerva_math", "olympiadbench"),
}
"""Suite -> data sources. Those of search are read by `open_qa`, of mathematics by `math500` and `math_rows`."""

_KINDS = (".parquet", ".jsonl", ".json")


def suite(name: str, source: Path, skip_missing: bool = False) -> tuple[list[str], list[str]]:
    """Return a suite's data sets as NAME=SOURCE, and the names of those that are missing.

    Args:
        name: the suite's.
        source: a folder with a folder or a file for each data set, named as it is (without veRL's prefix `searchR1_`),
            or one parquet file whose rows say their data source, as Search-R1's `test.parquet`.
        skip_missing: leave out what is not there.

    Raises:
        ValueError: for an unknown suite, a source that is not there, or a data set that is missing; the sentence names
            all that are.
    """
    if name not in SUITES:
        raise ValueError(f"there is no suite {name!r}; the suites are {', '.join(SUITES)}")
    if not source.exists():
        raise ValueError(f"there is no {source}: give --source, a folder that holds {', '.join(_shown(name))}")
    found = {each: _place(each, source) for each in SUITES[name]}
    missing = [bare_name(each) for each, place in found.items() if place is None]
    if missing and (not skip_missing or len(missing) == len(found)):
        raise ValueError(
            f"the suite {name} is not complete in {source}: {', '.join(missing)} missing; add a folder or a file for "
            "each, or leave them out with --skip-missing"
        )
    return [f"{each}={place}" for each, place in found.items() if place is not None], missing


def _shown(name: str) -> Iterator[str]:
    return map(bare_name, SUITES[name])


def _place(name: str, source: Path) -> Path | None:
    """Return where a data set's rows are; None where they are not."""
    if source.is_file():
        columns = pq.read_schema(source).names if source.suffix == ".parquet" else []
        if "data_source" not in columns:
            raise ValueError(f"{source} is no parquet file whose rows say their data_source; give a folder")
        said = pq.read_table(source, columns=["data_source"]).column(0).unique().to_pylist()
        return source if bare_name(name) in map(bare_name, said) else None
    folder = source / bare_name(name)
    # The split to report is `test`; sets whose test answers are not published are shared as `dev`.
    files = [folder / f"{split}{kind}" for split in ("test", "dev") for kind in _KINDS]
    files += [folder.with_name(folder.name + kind) for kind in _KINDS]
    return next((file for file in files if file.is_file()), folder if folder.is_dir() else None)
