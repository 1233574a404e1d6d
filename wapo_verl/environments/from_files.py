"""Environments whose examples are read from published files: which file is which split, and a row at a time out of it.

A mix-in beside an environment's own base. It downloads nothing: ``wapo_verl.environments.hub`` does, before, where a
user asks for it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from wapo_verl.environments.environment import Environment, Example, RowError
from wapo_verl.environments.raw_rows import WHOLE_ROW, RawRow, read_rows


class FromFiles(Environment):
    """Base for environments read from files; a subclass sets the class attributes and writes ``example``.

    Class attributes:
        files: split -> glob patterns inside a source folder, the preferred first, each also tried gzipped; the first
            that matches is taken with all its matches (shards, in the order of their names).
        unanswered_splits: splits that are published without answers, refused with a sentence that says so.
        upstream: where a user gets the files.
    """

    files: ClassVar[Mapping[str, tuple[str, ...]]]
    unanswered_splits: ClassVar[tuple[str, ...]] = ()
    upstream: ClassVar[str]

    @abstractmethod
    def example(self, raw: RawRow) -> Example:
        """Return the example in a raw row; raises ``RowError`` through ``raw.text`` and ``raw.error``."""

    def examples(self, split: str, source: Path | None, **options: Any) -> Iterator[Example]:
        """Read the examples of ``source``: a folder with upstream file names, or one file taken to be the split."""
        resolved = self.resolve_options(options)
        for example in self.read_examples(split, source):
            yield self.with_row_options(example, resolved)

    def read_examples(self, split: str, source: Path | None) -> Iterator[Example]:
        """Read the same without what the options put into each."""
        for file in self.source_files(split, source):
            for raw in read_rows(file):
                yield self.example_of(raw)

    def example_of(self, raw: RawRow) -> Example:
        """Return ``example``; whatever else it raises becomes a ``RowError`` that names the row."""
        try:
            return self.example(raw)
        except RowError:
            raise
        except Exception as error:
            raise raw.error(
                WHOLE_ROW,
                f"makes {type(self).__name__}.example raise {type(error).__name__}: {error}; fix it, or the row",
            ) from error

    def source_files(self, split: str, source: Path | None) -> tuple[Path, ...]:
        """Return the split's files in ``source``.

        Raises:
            ValueError: for an unknown or unanswered split, or when there is no source or nothing of the split in it.
        """
        if split in self.unanswered_splits:
            raise ValueError(
                f"the {split} split of {self.name} is published without answers, so it makes no rows; "
                f"use {' or '.join(self.splits)}"
            )
        if split not in self.splits:
            raise ValueError(f"{self.name} has no split {split!r}; its splits are {', '.join(self.splits)}")
        if source is None:
            sample = self.sample_source()
            raise ValueError(
                f"{self.name} is read from files: give --source with a file or folder from {self.upstream}"
                + (f"; a few rows to try are in {sample}" if sample else "")
            )
        if source.is_file():
            return (source,)
        if not source.is_dir():
            raise ValueError(f"there is no file or folder {source}; {self.name} can be had from {self.upstream}")
        found = self._matches(split, source)
        if not found:
            raise ValueError(
                f"{source} holds no {split} split of {self.name}; it is looked for as {', '.join(self.files[split])}"
            )
        return found

    def available_splits(self, source: Path | None) -> tuple[str, ...]:
        """Return the splits whose files are in the folder ``source``.

        Raises:
            ValueError: when it holds none, or is a single file, which may be any split.
        """
        if source is not None and source.is_file():
            raise ValueError(f"{source} is one file: say with --split which of {', '.join(self.splits)} it is")
        if source is None or not source.is_dir():
            return self.splits  # reading the first one says what is wrong
        return tuple(split for split in self.splits if self._matches(split, source)) or self.splits

    def file_patterns(self, splits: Sequence[str] = ()) -> tuple[str, ...]:
        """Return ``files`` of these splits, or of all, plain and gzipped."""
        patterns = (pattern for split in splits or self.splits for pattern in self.files.get(split, ()))
        return tuple(variant for pattern in patterns for variant in (pattern, f"{pattern}.gz"))

    def _matches(self, split: str, folder: Path) -> tuple[Path, ...]:
        for pattern in self.files[split]:
            for variant in (pattern, f"{pattern}.gz"):
                if found := tuple(sorted(folder.glob(variant))):
                    return found
        return ()
