"""Keeping good checkpoints, on real files: no veRL, no GPU."""

import os
import shutil
from pathlib import Path

import pytest

from wapo_verl.guard import checkpoints as module
from wapo_verl.guard.checkpoints import GoodCheckpoints, read_state


def save(folder: Path, step: int) -> Path:
    """Write a checkpoint as veRL lays it out."""
    actor = folder / f"global_step_{step}" / "actor" / "huggingface"
    actor.mkdir(parents=True, exist_ok=True)
    (actor.parent / "model.pt").write_text(f"weights of {step}")
    (actor / "config.json").write_text("{}")
    (folder / f"global_step_{step}" / "data.pt").write_text(f"data of {step}")
    return folder / f"global_step_{step}"


def weights(checkpoint: Path | None) -> str:
    assert checkpoint is not None
    return (checkpoint / "actor" / "model.pt").read_text()


def test_a_good_checkpoint_outlives_what_verl_removes(tmp_path: Path) -> None:
    kept = GoodCheckpoints(tmp_path)
    shutil.rmtree(_offered(kept, 2) / "actor")
    good = kept.confirm(2)
    assert kept.last_good == GoodCheckpoints(tmp_path).last_good == good
    assert (tmp_path / "last_good_checkpoint.txt").read_text() == str(good)
    assert (good.name, weights(good), read_state(good)) == ("global_step_2", "weights of 2", {"at": 2})
    assert (good / "data.pt").read_text() == "data of 2"


def test_what_waits_takes_no_room(tmp_path: Path) -> None:
    source = _offered(GoodCheckpoints(tmp_path), 2)
    assert (source / "actor" / "model.pt").stat().st_nlink == 2


def test_only_the_last_good_one_and_the_later_ones_that_wait_are_kept(tmp_path: Path) -> None:
    kept = GoodCheckpoints(tmp_path)
    for step in (2, 4, 6, 10):
        _offered(kept, step)
    kept.confirm(2)
    kept.confirm(6)
    assert kept.unjudged == [10]
    assert [path.name for path in (tmp_path / "guard" / "last_good").iterdir()] == ["global_step_6"]
    kept.forget_unjudged()
    assert kept.unjudged == []
    assert weights(kept.last_good) == "weights of 6"


def test_a_save_does_not_write_into_a_kept_checkpoint(tmp_path: Path) -> None:
    """A run that went on from an earlier step saves the same step again, over veRL's own files."""
    kept = GoodCheckpoints(tmp_path)
    _offered(kept, 2)
    good = kept.confirm(2)
    kept.make_room(2)
    (save(tmp_path, 2) / "actor" / "model.pt").write_text("other weights")
    assert weights(good) == "weights of 2"


def test_auto_resume_finds_the_last_good_one_even_where_verl_had_removed_it(tmp_path: Path) -> None:
    kept = GoodCheckpoints(tmp_path)
    shutil.rmtree(_offered(kept, 2) / "actor")
    kept.confirm(2)
    save(tmp_path, 4)
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("4")
    kept.resume_from_last_good()
    assert (tmp_path / "latest_checkpointed_iteration.txt").read_text() == "2"
    assert weights(tmp_path / "global_step_2") == "weights of 2"


def test_without_a_good_one_nothing_is_touched(tmp_path: Path) -> None:
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("4")
    kept = GoodCheckpoints(tmp_path)
    kept.resume_from_last_good()
    assert kept.last_good is None
    assert (tmp_path / "latest_checkpointed_iteration.txt").read_text() == "4"


def test_a_file_system_without_hard_links_gets_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: str, target: str) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    kept = GoodCheckpoints(tmp_path)
    source = _offered(kept, 2)
    assert (source / "actor" / "model.pt").stat().st_nlink == 1
    assert weights(kept.confirm(2)) == "weights of 2"


def test_a_checkpoint_on_another_disk_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "global_step_2").mkdir()
    with pytest.raises(FileNotFoundError, match=r"trainer\.default_local_dir must be a folder that"):
        GoodCheckpoints(tmp_path).offer(2, {})


def test_the_step_is_read_as_verl_reads_it(tmp_path: Path) -> None:
    good = _offered(GoodCheckpoints(tmp_path), 12)
    assert module.step_of(good) == int(str(good).split("global_step_")[-1]) == 12


def _offered(kept: GoodCheckpoints, step: int) -> Path:
    source = save(kept.folder, step)
    kept.offer(step, {"at": step})
    return source
