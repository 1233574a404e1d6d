"""What stands beside each parquet file: where its rows come from, what was chosen, and checksums of both ends.

`dev.parquet` has `dev.manifest.json`. The same source files, options, seed and limit under the same version of this
package give the same rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

FORMAT_VERSION = 1
SUFFIX = ".manifest.json"

Model = TypeVar("Model", bound=BaseModel)


class FileRecord(BaseModel):
    """A file as it was: name, size in bytes, SHA-256 in hexadecimal."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    bytes: int
    sha256: str

    @classmethod
    def of(cls, file: Path) -> FileRecord:
        """Read the file through once."""
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256")
        return cls(name=file.name, bytes=file.stat().st_size, sha256=digest.hexdigest())


class DataManifest(BaseModel):
    """How a split's parquet file was made.

    Attributes:
        environment: the environment's name; `split` is the split's.
        agent: the agent loop that plays the rows, which decides on their prompt.
        rows: rows in the file.
        repo, revision: the data set on the Hugging Face hub and the commit of it; None for local files.
        source: the files that were read; empty where the environment makes its rows.
        options: the environment's options, defaults included.
        selection: which of the source's rows the environment keeps and how many it does not; empty where it keeps all.
        limit, seed: as asked for; None where not.
        left_out_of_train: questions that were left out because another split has them.
        parquet: the file beside this one.
        package: version of wapo-verl.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    format_version: int = FORMAT_VERSION
    environment: str
    split: str
    agent: str
    rows: int
    repo: str | None = None
    revision: str | None = None
    source: tuple[FileRecord, ...] = ()
    options: Mapping[str, str | int | float | bool] = {}
    selection: Mapping[str, str | int] = {}
    limit: int | None = None
    seed: int | None = None
    left_out_of_train: int = 0
    parquet: FileRecord
    package: str

    def write(self, folder: Path) -> Path:
        """Write it into the parquet's folder; return its path."""
        file = folder / f"{self.split}{SUFFIX}"
        file.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return file


def read_manifest(file: Path) -> DataManifest:
    """Read one back.

    Raises:
        ValueError: naming the file, for one that is broken or of another format.
        OSError: when it cannot be read.
    """
    manifest = read_model(DataManifest, file, fix="prepare the data again")
    if manifest.format_version != FORMAT_VERSION:
        raise ValueError(f"{file} has format {manifest.format_version}, not {FORMAT_VERSION}: prepare the data again")
    return manifest


def read_model(kind: type[Model], file: Path, fix: str) -> Model:
    """Read a file that a pydantic model was written to.

    Raises:
        ValueError: for a file that is broken, naming it and the first key that is wrong; `fix` says what to do.
        OSError: when it cannot be read.
    """
    try:
        return kind.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole file"
        raise ValueError(f"{file}, {place}: {first['msg']}; {fix}") from error


def manifests(folder: Path) -> list[DataManifest]:
    """Return all manifests in a folder, by split. Raises as `read_manifest`."""
    return [read_manifest(file) for file in sorted(folder.glob(f"*{SUFFIX}"))]


def pinned_revision(known: Iterable[DataManifest], repo: str) -> str | None:
    """Return the commit of a hub data set that earlier files are of, so that a folder holds one revision of it."""
    return next((manifest.revision for manifest in known if manifest.repo == repo), None)


def check(folder: Path) -> list[DataManifest]:
    """Compare each parquet file in a folder with its manifest and return the manifests.

    Raises:
        ValueError: for the first file that is missing or not the one the manifest names, or a folder without any.
    """
    found = manifests(folder)
    if not found:
        raise ValueError(f"{folder} has no *{SUFFIX}: prepare the data into it")
    for manifest in found:
        file = folder / manifest.parquet.name
        if not file.is_file() or FileRecord.of(file) != manifest.parquet:
            raise ValueError(f"{file} is not the file that its manifest was written for: prepare the data again")
    return found
