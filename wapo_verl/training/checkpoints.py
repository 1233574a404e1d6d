"""Find the checkpoint that a run resumes from, and say what stopped a save."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from wapo_verl.guard.checkpoints import TRACKER, write_at_once
from wapo_verl.rollout.fail_fast import message_of
from wapo_verl.say import say
from wapo_verl.training.whole_checkpoints import broken_file, correct_note, where_to_resume

ASYNC_SAVE = "actor_rollout_ref.actor.checkpoint.async_save"

GIGABYTE = 1e9


class CheckpointError(RuntimeError):
    """A checkpoint could not be saved or cannot be loaded; the message names it and says what to do."""


def find_whole(trainer: DictConfig, parts: Sequence[str]) -> None:
    """Have `trainer.resume_mode=auto` find a whole checkpoint, and say so where that is not the one veRL noted.

    Args:
        trainer: the group `trainer` of the configuration.
        parts: names of the folders that a checkpoint must have.

    Raises:
        CheckpointError: where `trainer.resume_from_path` has a file that was not written to its end.
    """
    if trainer.resume_mode == "auto":
        said = correct_note(Path(trainer.default_local_dir).absolute(), parts)
        if said is not None:
            say(said)
    elif trainer.resume_mode == "resume_path":
        broken = broken_file(Path(trainer.resume_from_path).absolute())
        if broken is not None:
            raise CheckpointError(
                f"trainer.resume_from_path={trainer.resume_from_path} is not whole: {broken} was not written to its "
                "end; name another checkpoint, or set trainer.resume_mode=auto, which finds the newest whole one"
            )


@contextmanager
def saving(config: DictConfig, step: int, parts: Sequence[str]) -> Iterator[None]:
    """Save a checkpoint in here; its step is noted at once when all of it is there.

    Args:
        config: veRL's whole configuration.
        step: the step that is saved.
        parts: names of the folders that a checkpoint must have.

    Raises:
        CheckpointError: for whatever stops the save, with the path, the free space and the last whole checkpoint.
    """
    folder = Path(config.trainer.default_local_dir).absolute()
    try:
        yield
        if not OmegaConf.select(config, ASYNC_SAVE):  # else the workers write on, and note the step themselves
            write_at_once(folder / TRACKER, str(step))
    except Exception as error:
        raise CheckpointError(_not_saved(folder, step, parts, error)) from error


def _not_saved(folder: Path, step: int, parts: Sequence[str], error: Exception) -> str:
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    disk = shutil.disk_usage(there)
    reason = " ".join(message_of(error).split())[:300]
    return (
        f"the checkpoint of step {step} could not be saved in {folder}, whose disk has {disk.free / GIGABYTE:.3f} of "
        f"{disk.total / GIGABYTE:.3f} GB free: {reason}; {where_to_resume(folder, parts)}"
    )
