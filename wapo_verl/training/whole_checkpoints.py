"""Which checkpoints are whole, and which one a run resumes from.

veRL writes the actor's files first, `data.pt` after every rank has finished, and last a note of the step, in place
(`latest_checkpointed_iteration.txt`): a kill or a full disk in that moment leaves the note empty, and every later
resume ends with `invalid literal for int()`. Here the note is read with suspicion and written again at once.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path

from wapo_verl.guard.checkpoints import TRACKER, step_of, write_at_once

DATA = "data.pt"
"""The place in the data: the last file of a checkpoint that veRL writes."""


def broken_file(checkpoint: Path) -> Path | None:
    """Return a file of a checkpoint that was not written to its end, None where there is none.

    `torch.save` writes a zip archive, whose directory comes last.
    """
    files = sorted(checkpoint.rglob("*.pt"))
    return next((file for file in files if not zipfile.is_zipfile(file)), None)


def is_whole(checkpoint: Path, parts: Sequence[str]) -> bool:
    """Tell whether a checkpoint was written to its end and nothing of it was removed since.

    Args:
        checkpoint: its folder.
        parts: names of the folders that it must have.
    """
    has_parts = all((checkpoint / part).is_dir() and any((checkpoint / part).iterdir()) for part in parts)
    return has_parts and (checkpoint / DATA).is_file() and broken_file(checkpoint) is None


def newest_whole(folder: Path, parts: Sequence[str]) -> int | None:
    """Return the step of the newest whole checkpoint in veRL's `trainer.default_local_dir`, None without one."""
    steps = sorted((step_of(path) for path in folder.glob("global_step_*") if path.is_dir()), reverse=True)
    return next((step for step in steps if is_whole(folder / f"global_step_{step}", parts)), None)


def noted_step(folder: Path) -> int | None:
    """Return the step in veRL's note, None where there is no note or no step in it."""
    try:
        return int((folder / TRACKER).read_text())
    except (FileNotFoundError, ValueError):
        return None


def correct_note(folder: Path, parts: Sequence[str]) -> str | None:
    """Make veRL's note name a whole checkpoint before `trainer.resume_mode=auto` reads it.

    Args:
        folder: veRL's `trainer.default_local_dir`.
        parts: names of the folders that a checkpoint must have.

    Returns:
        What was wrong and what the run resumes from, None where nothing was.
    """
    step = noted_step(folder)
    if step is not None and is_whole(folder / f"global_step_{step}", parts):
        return None
    note, newest = folder / TRACKER, newest_whole(folder, parts)
    if newest is None and not note.exists():
        return None
    wrong = (
        f"{note} is missing"
        if not note.exists()
        else f"{note} holds no step (it was being written when a run ended)"
        if step is None
        else f"the checkpoint of step {step} that {note} names is not whole"
    )
    if newest is None:
        note.unlink()
        return f"{wrong}, and {folder} has no whole checkpoint: training starts at step 0"
    write_at_once(note, str(newest))
    return f"{wrong}: training resumes from step {newest}, the newest whole checkpoint"


def where_to_resume(folder: Path, parts: Sequence[str]) -> str:
    """Say where a run that has ended can be resumed, as the end of a sentence.

    Args:
        folder: veRL's `trainer.default_local_dir`.
        parts: names of the folders that a checkpoint must have.
    """
    step = newest_whole(folder, parts)
    if step is None:
        return f"there is no whole checkpoint in {folder} to resume from"
    return (
        f"the last whole checkpoint in {folder} is that of step {step}, which the same command resumes from "
        "(trainer.resume_mode=auto)"
    )
