"""Keeps the last good checkpoint, whatever veRL removes, beside the ones that are not judged yet.

    default_local_dir/
      global_step_12/                     veRL's own; trainer.max_actor_ckpt_to_keep removes the actors of old ones
      guard/unjudged/global_step_12/      hard links to its files: no bytes of their own as long as veRL keeps them
      guard/last_good/global_step_8/      the same, of the last one that was found good
      last_good_checkpoint.txt            its path, for trainer.resume_from_path

Links and not copies: a checkpoint may have hundreds of gigabytes. Where the file system has no hard links, files are
copied. What makes a checkpoint good is in `guard`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

POINTER = "last_good_checkpoint.txt"
TRACKER = "latest_checkpointed_iteration.txt"
STATE = "guard.json"


class GoodCheckpoints:
    """The folder of a run's checkpoints as the guard sees it; `folder` is veRL's `trainer.default_local_dir`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._unjudged, self._good = self.folder / "guard" / "unjudged", self.folder / "guard" / "last_good"
        self._put_back: Path | None = None  # an actor that veRL had removed, there until it saves a newer one

    @property
    def last_good(self) -> Path | None:
        """The last good checkpoint's folder, None as long as there is none."""
        pointer = self.folder / POINTER
        found = Path(pointer.read_text().strip()) if pointer.is_file() else None
        return found if found is not None and found.is_dir() else None

    @property
    def unjudged(self) -> list[int]:
        """The steps of the checkpoints that wait to be judged, in order."""
        return sorted(step_of(path) for path in self._unjudged.glob("global_step_*") if path.suffix != ".partial")

    def forget_unjudged(self, after: int = -1) -> None:
        """Give up what waits of steps after `after`: an alarm has made it doubtful, or another run has left it."""
        for step in self.unjudged:
            if step > after:
                shutil.rmtree(self._unjudged / f"global_step_{step}")

    def forget_last_good(self) -> None:
        """Point at no checkpoint any more: the good one is of another run, or of a later step than this."""
        (self.folder / POINTER).unlink(missing_ok=True)

    def make_room(self, step: int) -> None:
        """Take away files that a save at `step` would write into, where they are shared with a kept checkpoint."""
        for file in (self.folder / f"global_step_{step}").rglob("*"):
            if file.is_file() and file.stat().st_nlink > 1:
                file.unlink()

    def offer(self, step: int, state: Mapping[str, Any]) -> None:
        """Take veRL's checkpoint of `step` to be judged, with the detector's state after that step.

        Raises:
            FileNotFoundError: where this process does not see it, as on another node's own disk.
        """
        source = self.folder / f"global_step_{step}"
        if not (source / "actor").is_dir():
            raise FileNotFoundError(
                f"the guard does not find the checkpoint {source}: trainer.default_local_dir must be a folder that the "
                "trainer's process and all workers share"
            )
        write_state(source, state)
        kept, partial = self._unjudged / source.name, self._unjudged / f"{source.name}.partial"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(source, partial, copy_function=_link)
        partial.rename(kept)

    def remember(self, step: int, state: Mapping[str, Any]) -> None:
        """Put the detector's state into veRL's checkpoint of `step`, where this process sees it."""
        source = self.folder / f"global_step_{step}"
        if source.is_dir():
            write_state(source, state)

    def confirm(self, step: int) -> Path:
        """Make the unjudged checkpoint of `step` the last good one; those before it are given up."""
        good = self._good / f"global_step_{step}"
        self._good.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(good, ignore_errors=True)
        (self._unjudged / good.name).rename(good)
        write_at_once(self.folder / POINTER, str(good))
        for other in (path for path in self._good.iterdir() if path != good):
            shutil.rmtree(other)
        for earlier in (waiting for waiting in self.unjudged if waiting < step):
            shutil.rmtree(self._unjudged / f"global_step_{earlier}")
        return good

    def resume_from_last_good(self) -> None:
        """Make `trainer.resume_mode=auto` resume from the last good checkpoint: veRL's own copy of it, and its note."""
        good = self.last_good
        if good is None:
            return
        own = self.folder / good.name
        removed = not (own / "actor").is_dir()
        shutil.rmtree(own, ignore_errors=True)
        shutil.copytree(good, own, copy_function=_link)
        write_at_once(self.folder / TRACKER, str(step_of(good)))
        self._put_back = own / "actor" if removed else None

    def take_away_again(self) -> None:
        """Remove the actor that `resume_from_last_good` put back, now that veRL resumes from a newer checkpoint."""
        if self._put_back is not None:
            shutil.rmtree(self._put_back)
        self._put_back = None


def step_of(checkpoint: Path) -> int:
    """Return the step in the name of a checkpoint's folder, as veRL reads it."""
    return int(checkpoint.name.removeprefix("global_step_"))


def read_state(checkpoint: Path) -> dict[str, Any] | None:
    """Return the detector's state that a checkpoint was kept with, None where it has none."""
    file = checkpoint / STATE
    return json.loads(file.read_text()) if file.is_file() else None


def write_state(checkpoint: Path, state: Mapping[str, Any]) -> None:
    """Put the detector's state into a checkpoint; the file is a new one, since a kept checkpoint may share the old."""
    write_at_once(checkpoint / STATE, json.dumps(state))


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def write_at_once(file: Path, text: str) -> None:
    """Write a file at once: whoever reads it, after a crash too, sees the old text or the new one."""
    written = file.with_name(file.name + ".new")
    with written.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    written.replace(file)
