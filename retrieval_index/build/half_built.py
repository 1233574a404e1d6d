"""A half-built index: a hidden folder beside the final place, the lock on it, and what is known about its contents.

`.NAME.building` holds `recipe.json` (what is being built), `passed` (the corpus hash after every `CHECK_EVERY`
documents) and `index`, which becomes the index. `.NAME.lock` is locked while a build runs. The kernel drops the lock of
a process that dies, so nothing has to be cleaned up by hand. Two machines that build one index on a shared file system
are kept apart only if that file system passes locks on.
"""

from __future__ import annotations

import fcntl
import glob
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from retrieval_index.backends.engine import Backend
from retrieval_index.errors import IndexStateError
from retrieval_index.manifest import ENGINE_DIRECTORY, FILE_NAME, FORMAT_VERSION, fsync_directory

CHECK_EVERY = 10_000
"""Documents between two hashes in `passed`. A build with an engine that commits at multiples of it can be resumed even
if the corpus has changed after the commit."""


@dataclass(frozen=True)
class Recipe:
    """What an index is made of and by. Two builds are of the very same index if their recipes are equal."""

    engine: str
    engine_version: str
    analyser: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    @classmethod
    def of(cls, engine: Backend, parameters: Mapping[str, Any], source: Mapping[str, str]) -> Recipe:
        """Return the recipe of an index that `engine` builds with `parameters` from `source`."""
        return cls(engine.name, engine.engine_version, engine.analyser(parameters), parameters, dict(source))

    def differs(self, other: Recipe) -> list[str]:
        """Return the names of the fields in which `other` differs."""
        mine, others = asdict(self), asdict(other)
        return [name for name in mine if mine[name] != others[name]]


class HalfBuilt:
    """The hidden folder for one target. Only `recipe` and `builder` may be used without holding the lock."""

    def __init__(self, target: Path) -> None:
        """Name the folders and files for the index at `target`; nothing is made yet."""
        self.target = target
        self.directory = target.parent / f".{target.name}.building"
        self.index = self.directory / "index"
        self.engine_files = self.index / ENGINE_DIRECTORY
        self._lock = target.parent / f".{target.name}.lock"
        self._replaced = self.directory / "replaced"
        self._passed = self.directory / "passed"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock. Raises IndexStateError if another build of this target runs."""
        with self._own_lock_file() as file:
            self._restore_replaced()
            try:
                yield
            finally:
                file.truncate(0)
                self._lock.unlink(missing_ok=True)

    @contextmanager
    def _own_lock_file(self) -> Iterator[TextIO]:
        while True:
            with self._lock.open("a+", encoding="utf-8") as file:
                if not _lock(file, fcntl.LOCK_EX):
                    raise IndexStateError(
                        f"{self.target} is being built by {self.builder() or 'another process'} already: wait until "
                        "that has ended, or build at another place"
                    )
                if not self._is_still(file):
                    continue  # the former owner has removed the file meanwhile
                file.truncate(0)
                file.write(f"process {os.getpid()}")
                file.flush()
                yield file
                return

    def _is_still(self, file: TextIO) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), self._lock.stat())
        except FileNotFoundError:
            return False

    def builder(self) -> str | None:
        """Return who builds right now ("process 123"), or None if nobody does."""
        try:
            with self._lock.open("r", encoding="utf-8") as file:
                return None if _lock(file, fcntl.LOCK_SH) else file.read() or "another process"
        except FileNotFoundError:
            return None

    def recipe(self) -> Recipe | None:
        """Return what is being built, or None if there is nothing that this code could resume."""
        try:
            return Recipe(**json.loads((self.directory / "recipe.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def begin(self, recipe: Recipe) -> None:
        """Discard what is there and make an empty folder for `recipe`."""
        self.discard()
        self.engine_files.mkdir(parents=True)
        self.record(recipe)

    def record(self, recipe: Recipe) -> None:
        """Write the recipe, whole or not at all."""
        draft = self.directory / "recipe.draft"
        draft.write_text(json.dumps(asdict(recipe), indent=2, ensure_ascii=False), encoding="utf-8")
        draft.replace(self.directory / "recipe.json")

    def discard(self) -> list[Path]:
        """Remove everything half-built, the recipe first, so that a kill on the way leaves nothing to resume.

        The folder is renamed before it is emptied: an engine's threads may still be at work there, and a lock file that
        they make meanwhile would keep it from being removed.

        Returns:
            What could not be removed, as on a network file system that keeps files which are still open somewhere. It
            is in nobody's way, and the next build tries again.
        """
        (self.directory / "recipe.json").unlink(missing_ok=True)
        if self.directory.exists():
            self.directory.rename(self.target.parent / f".{self.target.name}.removed-{uuid.uuid4().hex}")
        left = []
        for aside in self.target.parent.glob(f".{glob.escape(self.target.name)}.removed-*"):
            try:
                shutil.rmtree(aside)
            except OSError:
                left.append(aside)
        return left

    def safe(self, engine: Backend) -> int:
        """Return after how many documents a build can resume; 0 also if the engine cannot read what is there."""
        try:
            return engine.indexed(self.engine_files) if self.engine_files.is_dir() else 0
        except IndexStateError:
            return 0

    def passed(self, safe: int) -> Passed:
        """Return the hashes recorded for the part that is safe; later ones are forgotten."""
        return Passed(self._passed, safe)

    def move_into_place(self) -> None:
        """Rename the finished index to the target; one that is there is moved away first, to be discarded."""
        if (self.target / FILE_NAME).exists():
            self.target.rename(self._replaced)
        self.index.rename(self.target)
        fsync_directory(self.target.parent)

    def _restore_replaced(self) -> None:
        """Put an index back that had been moved away when its builder was killed between the two renames."""
        if self._replaced.exists() and not self.target.exists():
            self._replaced.rename(self.target)


def _lock(file: TextIO, kind: int) -> bool:
    """Try to lock for a tenth of a second: somebody may hold the lock briefly, only to see whether it is free."""
    for attempt in range(11):
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.01 if attempt < 10 else 0)
        else:
            return True
    return False


class OtherDocuments(Exception):
    """The documents are not those that the half-built index holds."""


class Passed:
    """The corpus hash after every `CHECK_EVERY` documents, in a file of lines "count hash"."""

    def __init__(self, path: Path, safe: int) -> None:
        """Read the hashes at `path` for the first `safe` documents and drop the others from the file."""
        self._path = path
        self._safe = safe
        self._known = {count: digest for count, digest in _hashes(path).items() if count <= safe}
        draft = path.with_suffix(".draft")
        draft.write_text("".join(f"{count} {digest}\n" for count, digest in self._known.items()), encoding="utf-8")
        draft.replace(path)

    @property
    def is_exact(self) -> bool:
        """Whether all documents that are safe can be compared with those that come now."""
        return self._safe in self._known

    def note(self, count: int, digest: Callable[[], str]) -> None:
        """Record the hash after `count` documents, or compare it with the recorded one.

        Raises:
            OtherDocuments: If they differ.
        """
        if count % CHECK_EVERY:
            return
        if count in self._known:
            if self._known[count] != digest():
                raise OtherDocuments
        elif count > self._safe:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{count} {digest()}\n")


def _hashes(path: Path) -> dict[int, str]:
    """Return what is recorded; a line that was cut short by a kill is ignored."""
    if not path.exists():
        return {}
    lines = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return {int(line[0]): line[1] for line in lines if len(line) == 2 and line[0].isdigit() and len(line[1]) == 64}
