"""What a run's training files hold, told before anything is started: how many rows, and which environments' rows."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


def count_rows(files: Iterable[str]) -> int | None:
    """Return the number of rows in all files, or None where one of them is no parquet file on this machine."""
    local = _local(files)
    return None if local is None else sum(pq.read_metadata(file).num_rows for file in local)


def first_ground_truths(files: Iterable[str]) -> dict[str, Any]:
    """Return for each `data_source` in the local parquet files the `reward_model.ground_truth` of its first row.

    Raises:
        KeyError: where a file has not these columns.
    """
    first: dict[str, Any] = {}
    for file in _local(files) or ():
        for batch in pq.ParquetFile(file).iter_batches(columns=["data_source", "reward_model"]):
            for place, source in enumerate(batch["data_source"].to_pylist()):
                if source not in first:
                    first[source] = batch["reward_model"][place].as_py()["ground_truth"]
    return first


def _local(files: Iterable[str]) -> list[Path] | None:
    paths = [Path(file).expanduser() for file in files]
    return paths if paths and all(path.suffix == ".parquet" and path.is_file() for path in paths) else None
