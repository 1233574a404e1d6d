"""Which checkpoint a run resumes from, on real files as torch writes them, and what a save that fails says. No Ray."""

import errno
import os
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from wapo_verl.training.checkpoints import CheckpointError, find_whole, saving
from wapo_verl.training.whole_checkpoints import correct_note, is_whole, newest_whole, where_to_resume

NOTE = "latest_checkpointed_iteration.txt"
ACTOR = ["actor"]


def save(folder: Path, step: int, data: bool = True) -> Path:
    """Save as veRL does: the actor first, then the data's place."""
    checkpoint = folder / f"global_step_{step}"
    (checkpoint / "actor" / "huggingface").mkdir(parents=True)
    for kind in ("model", "optim", "extra_state"):
        torch.save({"weight": torch.zeros(1000)}, checkpoint / "actor" / f"{kind}_world_size_1_rank_0.pt")
    if data:
        torch.save({"place": step}, checkpoint / "data.pt")
    return checkpoint


def note(folder: Path, text: str) -> None:
    (folder / NOTE).write_text(text)


def cut(file: Path) -> None:
    """Leave what a kill or a full disk leaves of a file."""
    os.truncate(file, file.stat().st_size // 2)


def config(folder: Path, **trainer: str) -> OmegaConf:
    return OmegaConf.create({"trainer": {"default_local_dir": str(folder), **trainer}})


def test_a_whole_checkpoint_that_is_noted_is_left_alone(tmp_path: Path) -> None:
    save(tmp_path, 2)
    save(tmp_path, 4)
    note(tmp_path, "2")  # an older one may be noted: the guard goes back
    assert correct_note(tmp_path, ACTOR) is None
    assert (tmp_path / NOTE).read_text() == "2"


@pytest.mark.parametrize("text", ["", "\0", "4\n5", "four"])
def test_an_empty_note_is_told_and_the_newest_whole_checkpoint_taken(tmp_path: Path, text: str) -> None:
    """Case 4 of runs.md: every later resume ended with `invalid literal for int() with base 10: ''`."""
    save(tmp_path, 2)
    save(tmp_path, 4)
    note(tmp_path, text)
    said = correct_note(tmp_path, ACTOR)
    assert said == (
        f"{tmp_path / NOTE} holds no step (it was being written when a run ended): training resumes from step 4, the "
        "newest whole checkpoint"
    )
    assert (tmp_path / NOTE).read_text() == "4"
    assert not list(tmp_path.glob("*.new"))


def test_a_half_checkpoint_is_never_taken(tmp_path: Path) -> None:
    save(tmp_path, 2)
    save(tmp_path, 4, data=False)
    cut(save(tmp_path, 6) / "data.pt")
    cut(save(tmp_path, 8) / "actor" / "optim_world_size_1_rank_0.pt")
    (tmp_path / "global_step_10").mkdir()
    assert newest_whole(tmp_path, ACTOR) == 2
    note(tmp_path, "8")
    said = correct_note(tmp_path, ACTOR)
    assert said is not None
    assert said.startswith("the checkpoint of step 8 that ")
    assert (tmp_path / NOTE).read_text() == "2"


def test_one_whose_actor_verl_has_removed_is_not_whole(tmp_path: Path) -> None:
    checkpoint = save(tmp_path, 2)
    assert is_whole(checkpoint, ACTOR)
    assert not is_whole(checkpoint, ["actor", "critic"])
    (checkpoint / "actor").rename(tmp_path / "elsewhere")
    assert not is_whole(checkpoint, ACTOR)


def test_a_first_checkpoint_whose_note_was_never_written_is_resumed(tmp_path: Path) -> None:
    save(tmp_path, 2)
    assert str(correct_note(tmp_path, ACTOR)).endswith(
        "is missing: training resumes from step 2, the newest whole checkpoint"
    )


def test_a_new_run_is_told_nothing(tmp_path: Path) -> None:
    assert correct_note(tmp_path, ACTOR) is None
    assert correct_note(tmp_path / "not there", ACTOR) is None


def test_without_a_whole_checkpoint_training_starts_anew_and_says_so(tmp_path: Path) -> None:
    save(tmp_path, 2, data=False)
    note(tmp_path, "")
    assert str(correct_note(tmp_path, ACTOR)).endswith("has no whole checkpoint: training starts at step 0")
    assert not (tmp_path / NOTE).exists()  # which veRL would fail to read


def test_auto_says_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path, 2)
    note(tmp_path, "")
    find_whole(config(tmp_path, resume_mode="auto").trainer, ACTOR)
    assert capsys.readouterr().out.startswith("wapo-verl: ")
    find_whole(config(tmp_path, resume_mode="disable").trainer, ACTOR)
    assert capsys.readouterr().out == ""


def test_a_path_to_a_half_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoint = save(tmp_path, 2)
    settings = config(tmp_path, resume_mode="resume_path", resume_from_path=str(checkpoint)).trainer
    find_whole(settings, ACTOR)
    cut(checkpoint / "actor" / "model_world_size_1_rank_0.pt")
    with pytest.raises(
        CheckpointError, match=r"is not whole: .*model_world_size_1_rank_0.pt was not written to its end"
    ):
        find_whole(settings, ACTOR)


def test_a_full_disk_is_one_sentence_with_path_space_and_the_last_whole_checkpoint(tmp_path: Path) -> None:
    """Case 5 of runs.md: neither "disk" nor "space" nor the path."""
    save(tmp_path, 2)
    with pytest.raises(CheckpointError) as raised, saving(config(tmp_path), 4, ACTOR):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 1252992 vs 1252880")
    said = str(raised.value)
    assert said.startswith(f"the checkpoint of step 4 could not be saved in {tmp_path}, whose disk has ")
    assert " GB free: RuntimeError: [enforce fail at inline_container.cc:672]" in said
    assert said.endswith(f"{where_to_resume(tmp_path, ACTOR)}")
    assert "is that of step 2, which the same command resumes from (trainer.resume_mode=auto)" in said


def test_a_folder_that_cannot_be_made_is_told_too(tmp_path: Path) -> None:
    with (
        pytest.raises(CheckpointError, match=r"there is no whole checkpoint in .* to resume from"),
        saving(config(tmp_path / "a" / "b"), 4, ACTOR),
    ):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_a_save_notes_its_step_but_where_the_workers_write_on(tmp_path: Path) -> None:
    settings = config(tmp_path)
    with saving(settings, 4, ACTOR):
        pass
    assert (tmp_path / NOTE).read_text() == "4"
    OmegaConf.update(settings, "actor_rollout_ref.actor.checkpoint.async_save", True, force_add=True)
    with saving(settings, 6, ACTOR):
        pass
    assert (tmp_path / NOTE).read_text() == "4"
