"""The manifest: one JSON file that says what an index is. It is written last and checked on opening."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from retrieval_index.errors import IndexStateError

FILE_NAME = "manifest.json"
ENGINE_DIRECTORY = "engine"
"""The back end's own files, beside the manifest."""

FORMAT_VERSION = 2
"""Raised whenever today's code could read an older index wrongly. Version 1 did not name an analyser."""

REBUILD = "build it again with `python -m retrieval_index build --overwrite`"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an index holds and what made it.

    Attributes:
        format_version: `FORMAT_VERSION` of the code that built it.
        engine: Name of the back end.
        engine_version: Version of the library under it.
        analyser: Name and version of what split texts into terms (see `backends.analysis`).
        documents: How many documents it has.
        corpus_hash: SHA-256 of all documents in order (see `build.checked.CheckedDocuments`).
        parameters: The back end's parameters.
        source: Where the documents came from (kind of corpus, hash of the files), so that a build can be skipped if
            the very same index is there.
        files: Size in bytes of every file of the engine, so that a copy that was cut short is noticed at once.
    """

    format_version: int
    engine: str
    engine_version: str
    analyser: str
    documents: int
    corpus_hash: str
    parameters: dict[str, Any] = field(default_factory=dict)
    source: dict[str, str] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)

    def write(self, directory: Path) -> None:
        """Write the manifest into `directory` and force it to the disk, the file and its directory entry."""
        path = directory / FILE_NAME
        with path.open("w", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=2, ensure_ascii=False, sort_keys=True)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        fsync_directory(directory)

    @classmethod
    def read(cls, directory: Path) -> Manifest:
        """Read and check the manifest in `directory`.

        Raises:
            IndexStateError: If it is missing, unreadable, or was not written by this version of the code.
        """
        path = directory / FILE_NAME
        if not directory.is_dir():
            raise IndexStateError(f"there is no index at {directory}: build one with `python -m retrieval_index build`")
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise IndexStateError(f"{directory} has no {FILE_NAME}, so it is no finished index: {REBUILD}") from None
        except (ValueError, OSError, RecursionError) as error:
            raise IndexStateError(f"{path} cannot be read ({error}): {REBUILD}") from error
        return cls._checked(record, path)

    @classmethod
    def _checked(cls, record: object, path: Path) -> Manifest:
        version = record.get("format_version") if isinstance(record, dict) else None
        if not isinstance(record, dict) or not isinstance(version, int):
            raise IndexStateError(f"{path} is not the manifest of an index: {REBUILD}")
        if version != FORMAT_VERSION:
            raise IndexStateError(
                f"{path} has format version {version}, this program reads version {FORMAT_VERSION}: {REBUILD}"
            )
        expected = {"engine": str, "engine_version": str, "analyser": str, "documents": int, "corpus_hash": str}
        expected |= {"parameters": dict, "source": dict, "files": dict}
        for name, kind in expected.items():
            if not isinstance(record.get(name), kind):
                raise IndexStateError(f"{path} has no usable {name!r}: {REBUILD}")
        return cls(**{item.name: record[item.name] for item in fields(cls)})


def file_sizes(directory: Path) -> dict[str, int]:
    """Return the size in bytes of every file under `directory`, except locks, by its relative path."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(directory)): path.stat().st_size for path in files}


def fsync_directory(directory: Path) -> None:
    """Force a directory's entries to the disk (before that, a rename or a new file is not durable)."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
