"""Piece: a run made to collapse is taken back to its last good checkpoint by the guard, and resumed from it."""

from pathlib import Path

from benchmarks.gpu.cases import Cases, Numbers, Setting, piece
from benchmarks.gpu.runs import checked, make_folders, run_verl, trained
from examples.quickstart.command import Folders
from wapo_verl.guard.checkpoints import step_of

STEPS = 40
SAVED = ["trainer.save_freq=2", "trainer.max_actor_ckpt_to_keep=1"]
COLLAPSING = [
    "actor_rollout_ref.actor.optim.lr=0.06",
    "actor_rollout_ref.actor.optim.lr_warmup_steps=20",
    f"trainer.total_training_steps={STEPS}",
    *SAVED,
]
GUARD = [
    "+wapo.guard.action=rollback",
    "+wapo.guard.on_rollback.lr_factor=0.5",
    "+wapo.guard.max_rollbacks=1",
    "+wapo.guard.confirm=2",
    "+wapo.guard.baseline_steps=3",
    "+wapo.guard.smoothing_steps=2",
    "+wapo.guard.patience=2",
]


def resuming(step: int) -> list[str]:
    """Return the settings of a run that makes two more steps."""
    return ["trainer.resume_mode=auto", f"trainer.total_training_steps={step + 2}", *SAVED]


def last_good(folders: Folders) -> Path:
    """Return the checkpoint that the guard has marked as good."""
    return Path((folders.out / "checkpoints" / "last_good_checkpoint.txt").read_text())


def rolled_back(folders: Folders, device: str) -> Numbers:
    """Let the learning rate rise until the policy falls apart; the guard goes back once, then stops the run."""
    training, said = run_verl(folders, device, [*COLLAPSING, *GUARD])
    assert training.status != 0, "the guard did not stop the run"
    assert any("CollapseError" in line for line in said), "the run ended for another reason: " + " / ".join(said[-3:])
    assert any("went back to the weights, optimizer and schedule of step" in line for line in said), (
        "it never went back"
    )
    last = training.rows[-1]
    assert last.values["stability/lr_factor"] == 0.5, "the rollback left the learning rate as it was"
    return {"steps": last.step, "alarms": last.values["stability/alarms"], "good step": step_of(last_good(folders))}


def resumed(folders: Folders, device: str) -> Numbers:
    """Resume from the good checkpoint at the quickstart's own learning rate."""
    step = step_of(last_good(folders))
    rows = trained(folders, device, resuming(step))
    assert rows[0].step == step + 1, f"it resumed at step {rows[0].step}, not {step + 1}"
    return {"resumed at": rows[0].step, **checked(rows, 2, device)}


def run(cases: Cases, setting: Setting) -> None:
    """Collapse, then resume."""
    folders = make_folders(setting)
    cases.run("the guard goes back, then stops", rolled_back, folders, setting.device)
    cases.run("resumed from the checkpoint", resumed, folders, setting.device)


if __name__ == "__main__":
    piece(run)
