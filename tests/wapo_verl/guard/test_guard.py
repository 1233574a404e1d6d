"""What the guard does about alarms, on made-up metrics and real files; the workers are replaced. No Ray, no GPU."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.trainer_base import PPOTrainer
from verl.trainer.ppo.v1.trainer_colocate_async import PPOTrainerColocateAsync
from verl.trainer.ppo.v1.trainer_separate_async import PPOTrainerSeparateAsync
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

from wapo_verl.guard.guard import CollapseError, Guard
from wapo_verl.guard.rules import LENGTH
from wapo_verl.guard.settings import GuardSettings
from wapo_verl.training.decisions import Decisions
from wapo_verl.training.trainer import WapoTrainerSync

GOOD, BAD = {LENGTH: 10.0}, {LENGTH: 100.0}


class Run:
    """A run that saves every second step, as veRL would, and keeps one checkpoint."""

    def __init__(self, folder: Path, action: str = "stop", **settings: Any) -> None:
        self.folder, self.lines, self.step = folder, [], 0
        self.settings = GuardSettings(action=action, confirm=2, baseline_steps=2, patience=2, **settings)
        self.guard = Guard(self.settings, folder, self.lines.append)

    def go(self, *steps: dict[str, float]) -> dict[str, float]:
        """Make the steps, and return what the last one logged."""
        logged: dict[str, float] = {}
        for metrics in steps:
            self.step += 1
            if self.step % 2 == 0:
                self.save()
            logged = self.guard.observe(self.step, metrics)
        return logged

    def save(self) -> None:
        shutil.rmtree(self.folder / f"global_step_{self.step - 2}", ignore_errors=True)
        (self.folder / f"global_step_{self.step}" / "actor").mkdir(parents=True)
        (self.folder / f"global_step_{self.step}" / "actor" / "model.pt").write_text(str(self.step))
        self.guard.saved(self.step)

    @property
    def last_good(self) -> str | None:
        found = self.guard.checkpoints.last_good
        return None if found is None else (found / "actor" / "model.pt").read_text()


def test_a_checkpoint_is_good_after_its_steps_without_an_alarm(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert "stability/last_good_step" not in run.go(GOOD, GOOD, GOOD)
    assert run.last_good is None
    assert run.go(GOOD)["stability/last_good_step"] == 2
    assert run.last_good == "2"


def test_what_was_saved_in_a_collapse_never_becomes_good(tmp_path: Path) -> None:
    """Saved at 4, confirmed by nobody: doubt begins at 5, the alarm comes at 6 and gives it up."""
    run = Run(tmp_path)
    run.go(GOOD, GOOD, GOOD, GOOD, BAD, BAD)
    assert run.guard.wants_out
    run.go(GOOD, GOOD, GOOD)
    assert run.last_good == "2"
    assert run.go(GOOD)["stability/last_good_step"] == 8


def test_doubt_delays_the_judgement_and_an_alarm_is_needed_to_give_up(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.go(GOOD, GOOD, GOOD, BAD)
    assert run.last_good is None
    run.go(GOOD)
    assert run.last_good == "2"


def test_an_alarm_is_said_once_and_logged_as_long_as_it_lasts(tmp_path: Path) -> None:
    run = Run(tmp_path, "warn")
    logged = run.go(GOOD, GOOD, GOOD, BAD, BAD, BAD, BAD)
    assert (logged["stability/alarms"], logged["stability/rule/length_ceiling"]) == (1.0, 1.0)
    assert logged["stability/rule/entropy_floor"] == 0.0
    assert len(run.lines) == 1
    assert run.lines[0].startswith("alarm length_ceiling at step 5: the response length is 100, at the start it was 10")
    assert run.go(GOOD)["stability/alarms"] == 0.0
    run.go(BAD, BAD)
    assert len(run.lines) == 2
    assert not run.guard.wants_out


def test_metrics_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    run = Run(tmp_path, "warn")
    odd: dict[str, Any] = {LENGTH: np.float32(10), "filtered": {"a": 1}, "name": "x"}
    assert run.guard.observe(1, odd)["stability/alarms"] == 0


def test_stopping_names_the_checkpoint_and_makes_it_the_one_to_resume(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.go(GOOD, GOOD, GOOD, GOOD, BAD, BAD)
    error = str(run.guard.stop())
    assert error.startswith("the guard stopped the run after step 6: length_ceiling: the response length is 100")
    assert f"trainer.resume_from_path={tmp_path / 'guard' / 'last_good' / 'global_step_2'}" in error
    assert (tmp_path / "latest_checkpointed_iteration.txt").read_text() == "2"
    assert (tmp_path / "global_step_2" / "actor" / "model.pt").read_text() == "2"


def test_stopping_without_a_good_checkpoint_says_so(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.go(GOOD, GOOD, BAD, BAD)
    assert str(run.guard.stop()).endswith("no checkpoint had been found good yet")


def test_rollbacks_are_bounded_and_take_the_detector_along(tmp_path: Path) -> None:
    run = Run(tmp_path, "rollback", max_rollbacks=1)
    run.go(GOOD, GOOD, GOOD, GOOD, BAD, BAD)
    back = run.guard.way_back()
    assert back is not None
    assert back.name == "global_step_2"
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("6")  # veRL's note of the newest
    run.guard.went_back(back)
    assert (tmp_path / "latest_checkpointed_iteration.txt").read_text() == "2"  # a crash now resumes from what is good
    assert not run.guard.wants_out
    assert run.guard.detector.doubts == ()
    assert run.go(BAD)["stability/rollbacks"] == 1  # a first bad step again, so no alarm
    assert not run.guard.wants_out
    run.go(BAD)
    assert run.guard.wants_out
    assert run.guard.way_back() is None


SLOWER = {"on_rollback": {"lr_factor": 0.5}}


def test_each_rollback_multiplies_the_learning_rate_again(tmp_path: Path) -> None:
    run = Run(tmp_path, "rollback", max_rollbacks=2, **SLOWER)
    assert run.go(GOOD, GOOD, GOOD, GOOD, BAD, BAD)["stability/lr_factor"] == 1.0
    for factor in (0.5, 0.25):
        back = run.guard.way_back()
        assert back is not None
        run.guard.went_back(back)
        assert run.lines[-1].endswith(f"; the learning rate is {factor} times the schedule's now")
        assert run.go(BAD, BAD)["stability/lr_factor"] == factor


def test_a_rollback_that_changes_nothing_logs_no_factor(tmp_path: Path) -> None:
    run = Run(tmp_path, "rollback")
    logged = run.go(GOOD, GOOD, GOOD, GOOD, BAD, BAD)
    back = run.guard.way_back()
    assert back is not None
    run.guard.went_back(back)
    assert run.guard.lr_factor == 1.0
    assert "stability/lr_factor" not in logged
    assert "learning rate" not in run.lines[-1]


@pytest.mark.parametrize("saves_again", [False, True], ids=["crash before the next save", "resume from a later save"])
def test_the_factor_survives_a_resume(saves_again: bool, tmp_path: Path) -> None:
    """The checkpoint to go back to was saved at the full rate; the rate that it led to must not come back."""
    run = Run(tmp_path, "rollback", **SLOWER)
    run.go(GOOD, GOOD, GOOD, GOOD, BAD, BAD)
    back = run.guard.way_back()
    assert back is not None
    run.guard.went_back(back)
    step = int((tmp_path / "latest_checkpointed_iteration.txt").read_text())
    if saves_again:
        run.go(GOOD, GOOD)
        step = run.step
    again = Run(tmp_path, "rollback", **SLOWER)
    again.guard.begin(step, tmp_path / f"global_step_{step}")
    assert again.guard.lr_factor == 0.5
    assert again.lines[-1].startswith("the learning rate is 0.5 times the schedule's, as ")


@pytest.mark.parametrize("saves_again", [False, True], ids=["crash before the next save", "resume from a later save"])
def test_rollbacks_are_counted_over_a_resume(saves_again: bool, tmp_path: Path) -> None:
    run = Run(tmp_path, "rollback")
    run.go(GOOD, GOOD, GOOD, GOOD, BAD, BAD)
    back = run.guard.way_back()
    assert back is not None
    run.guard.went_back(back)
    step = 2
    if saves_again:
        run.go(GOOD, GOOD)
        step = run.step
    again = Run(tmp_path, "rollback")
    again.guard.begin(step, tmp_path / f"global_step_{step}")
    again.step = step
    assert again.go(BAD, BAD)["stability/rollbacks"] == 1
    assert again.guard.wants_out
    assert again.guard.way_back() is None


def test_an_older_checkpoint_has_the_rate_it_was_saved_with(tmp_path: Path) -> None:
    run = Run(tmp_path, "rollback", **SLOWER)
    run.go(GOOD, GOOD, GOOD, GOOD)
    again = Run(tmp_path, "rollback", **SLOWER)
    again.guard.begin(4, tmp_path / "global_step_4")
    assert again.guard.lr_factor == 1.0


@pytest.mark.parametrize(
    ("action", "factor", "said"),
    [
        ("rollback", 0.0, "greater than 0"),
        ("rollback", 1.5, "less than or equal to 1"),
        ("warn", 0.5, "on_rollback has no effect with action=warn"),
    ],
)
def test_what_makes_no_sense_on_a_rollback_is_refused(action: str, factor: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        GuardSettings.model_validate({"action": action, "on_rollback": {"lr_factor": factor}})


def test_what_a_rollback_put_back_goes_with_the_next_save(tmp_path: Path) -> None:
    """veRL keeps one checkpoint here, and had removed the good one's own actor."""
    run = Run(tmp_path, "rollback", max_rollbacks=2)
    run.go(GOOD, GOOD, GOOD, GOOD, BAD, BAD)
    back = run.guard.way_back()
    assert back is not None
    run.guard.went_back(back)
    assert (tmp_path / "global_step_2" / "actor" / "model.pt").is_file()
    run.go(GOOD, GOOD)
    assert not (tmp_path / "global_step_2" / "actor").exists()
    assert (back / "actor" / "model.pt").is_file()


def test_a_rollback_leaves_verls_own_copy_alone(tmp_path: Path) -> None:
    run = Run(tmp_path, "rollback")
    run.go(GOOD, GOOD, GOOD, GOOD)
    back = run.guard.checkpoints.last_good
    assert back is not None
    shutil.copytree(back, tmp_path / back.name, dirs_exist_ok=True)
    run.guard.went_back(back)
    run.go(GOOD, GOOD)
    assert (tmp_path / "global_step_2" / "actor" / "model.pt").is_file()


def test_a_resumed_run_keeps_its_start_and_its_good_checkpoint(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.go(GOOD, GOOD, GOOD, GOOD)
    again = Run(tmp_path)
    again.guard.begin(2, run.guard.checkpoints.last_good)
    again.step = 2
    assert again.guard.checkpoints.unjudged == []
    assert again.last_good == "2"
    shutil.rmtree(tmp_path / "global_step_4")
    again.go(BAD, BAD)
    assert again.guard.wants_out


def test_a_new_run_in_an_old_folder_does_not_take_the_old_ones_checkpoint_for_its_own(tmp_path: Path) -> None:
    Run(tmp_path).go(GOOD, GOOD, GOOD, GOOD)
    again = Run(tmp_path)
    again.guard.begin(0, None)
    assert again.last_good is None


def test_a_checkpoint_without_a_guards_state_is_said_to_be_one(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.guard.begin(7, tmp_path)
    assert run.lines == [f"{tmp_path} was saved without a guard: the run's start is measured from step 8 on"]


class Workers:
    """Stands in for a worker group and the weights' way to the rollout: writes down what it was asked."""

    def __init__(self, calls: list[Any]) -> None:
        self.calls = calls

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self.calls.append((name, *args, *kwargs.values()))


def make_trainer(run: Run) -> tuple[WapoTrainerSync, list[Any]]:
    made, calls = object.__new__(WapoTrainerSync), []
    made._obey(Decisions())
    made.guard, made.global_steps, made.use_critic = run.guard, run.step + 1, False
    made.checkpoint_manager = made.actor_rollout_wg = Workers(calls)
    made._recorder = SimpleNamespace(begin_step=lambda: None)
    made._dump_futures, made._dump_executor = [], SimpleNamespace(shutdown=lambda wait: calls.append("dumped"))
    return made, calls


def test_a_rollback_loads_the_weights_and_gives_them_to_the_rollout(tmp_path: Path) -> None:
    run = Run(tmp_path, "rollback")
    run.go(GOOD, GOOD, GOOD, GOOD, BAD, BAD)
    made, calls = make_trainer(run)
    made._entropy_change.last = (0.5, -0.1)
    made.on_step_begin()
    actor = str(tmp_path / "guard" / "last_good" / "global_step_2" / "actor")
    assert calls == [("sleep_replicas",), ("load_checkpoint", actor, False), ("update_weights", 6)]
    assert made._entropy_change.last is None, "the entropy that follows is no effect of the step before"
    made.on_step_begin()
    assert len(calls) == 3


@pytest.mark.parametrize("action", ["stop", "rollback"])
def test_the_run_ends_before_the_next_step_or_after_the_last(
    action: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, action)
    run.go(GOOD, GOOD, BAD, BAD)
    made, calls = make_trainer(run)
    with pytest.raises(CollapseError, match="stopped the run after step 4"):
        made.on_step_begin()
    assert calls == ["dumped"]
    monkeypatch.setattr(PPOTrainer, "fit", lambda self, manager: None)
    with pytest.raises(CollapseError, match="stopped the run after step 4"):
        made.fit(None)


def test_a_step_without_an_alarm_goes_on(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.go(GOOD, GOOD, BAD)
    made, calls = make_trainer(run)
    made.on_step_begin()
    assert calls == []


def test_the_guard_sees_the_finished_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own are the last to be added."""
    run = Run(tmp_path)
    made, _ = make_trainer(run)
    made.decisions = Decisions()
    made.config = OmegaConf.create({"algorithm": {}, "actor_rollout_ref": {"rollout": {"response_length": 9}}})
    one = torch.nested.as_nested_tensor([torch.tensor([5])], layout=torch.jagged)
    fields = dict.fromkeys(("responses", "response_mask", "rm_scores", "old_log_probs"), one)
    stored = {"extra_fields": [{"reward_extra_info": {"score": 1.0}}], **fields}
    monkeypatch.setattr("wapo_verl.training.stored.tq", SimpleNamespace(kv_batch_get=lambda **_: stored))
    monkeypatch.setattr(PPOTrainer, "_compute_metrics", lambda self, batch, metrics: metrics.update({LENGTH: 1.0}))
    seen: list[set[str]] = []
    monkeypatch.setattr(run.guard, "observe", lambda step, metrics: seen.append(set(metrics)) or {"stability/x": 1.0})
    metrics: dict[str, Any] = {}
    made._compute_metrics(KVBatchMeta(partition_id="train", keys=["a_0_0"], tags=[{}]), metrics)
    assert seen == [{LENGTH, "reward/score/mean", "episode/repetition_rate", "episode/truncated"}]
    assert metrics["stability/x"] == 1.0


def test_no_mode_of_verls_has_hooks_of_its_own_where_the_guard_looks() -> None:
    """What a mode added behind our class would come after the guard."""
    for mode in (PPOTrainerSync, PPOTrainerColocateAsync, PPOTrainerSeparateAsync):
        assert not {"_load_checkpoint", "_save_checkpoint", "_compute_metrics", "fit"} & set(vars(mode))


def test_checkpoints_that_wait_when_a_run_ends_are_judged_after_it_resumes(tmp_path: Path) -> None:
    """Case 6 of runs.md: they were given up, and the last good checkpoint stayed at an older step than it should."""
    run = Run(tmp_path)
    run.go(GOOD, GOOD, GOOD, GOOD, GOOD)  # 2 is good, 4 waits for step 6
    assert run.guard.checkpoints.unjudged == [4]
    again = Run(tmp_path)
    again.guard.begin(4, tmp_path / "global_step_4")
    again.step = 4
    assert again.guard.checkpoints.unjudged == [4]
    shutil.rmtree(tmp_path / "global_step_4")  # veRL keeps one
    assert again.go(GOOD, GOOD)["stability/last_good_step"] == 4
    assert again.last_good == "4"


def test_those_of_steps_that_are_made_again_are_given_up(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.go(GOOD, GOOD, GOOD, GOOD, GOOD)
    Run(tmp_path).guard.begin(2, run.guard.checkpoints.last_good)
    assert run.guard.checkpoints.unjudged == []


def test_those_of_another_run_are_given_up(tmp_path: Path) -> None:
    run = Run(tmp_path / "mine")
    run.go(GOOD, GOOD, GOOD, GOOD, GOOD)
    run.guard.begin(9, tmp_path / "another" / "global_step_9")
    assert run.guard.checkpoints.unjudged == []


def test_a_run_that_ends_between_a_save_and_its_metrics_keeps_its_start(tmp_path: Path) -> None:
    """Validation may take minutes there; the checkpoint had no guard's state, and the start was measured anew."""
    run = Run(tmp_path)
    run.go(GOOD, GOOD, GOOD)
    run.step = 4
    run.save()
    again = Run(tmp_path)
    again.guard.begin(4, tmp_path / "global_step_4")
    again.step = 4
    assert again.lines == []
    again.go(BAD, BAD)
    assert again.guard.wants_out


def test_half_a_copy_is_no_checkpoint_that_waits(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.go(GOOD, GOOD)
    (tmp_path / "guard" / "unjudged" / "global_step_4.partial").mkdir()
    assert run.guard.checkpoints.unjudged == [2]
