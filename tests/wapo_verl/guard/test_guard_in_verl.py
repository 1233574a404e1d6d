"""Slow: the real thing. A run made to collapse is rolled back, then stopped; its good checkpoint evaluates as before.

Nothing is replaced. The learning rate rises by 0.003 a step: three or four steps learn, then the policy falls apart.
"""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.gpu.checkpoints import COLLAPSING, GUARD, STEPS
from examples.quickstart.command import Folders, training_command
from examples.quickstart.metrics import EXACT_MATCH, ROLLOUT_GAP, Row
from examples.quickstart.run import Stages, make_world
from examples.quickstart.settings import QuickstartSettings
from examples.quickstart.training import Training, train
from wapo_verl.evaluation.verl_process import plain

SAVE_EVERY = 2
QUESTIONS = 48

GREEDY = [
    "actor_rollout_ref.rollout.val_kwargs.do_sample=False",
    "actor_rollout_ref.rollout.val_kwargs.temperature=0",
    f"data.val_max_samples={QUESTIONS}",
]
VALIDATED = ["trainer.val_before_train=False", f"trainer.test_freq={SAVE_EVERY}"]

pytestmark = [pytest.mark.slow, pytest.mark.ray]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, warm_model: Path) -> Folders:
    """The quickstart's world and warm-started model."""
    made, console = Folders(tmp_path_factory.mktemp("guarded")), Console(quiet=True)
    make_world(made, QuickstartSettings(), 0, Stages(console))
    shutil.copytree(warm_model, made.model)
    return made


def run_verl(folders: Folders, *overrides: str) -> Training:
    command = training_command(folders, QuickstartSettings(), 0, [*GREEDY, *overrides])
    return train(command, folders.log, folders.metrics, Console(quiet=True))


@pytest.fixture(scope="module")
def collapsed(folders: Folders) -> tuple[Training, list[str]]:
    """Train under the guard, and return what veRL logged and what was said in it."""
    training = run_verl(folders, *COLLAPSING, *VALIDATED, *GUARD)
    return training, [plain(line) for line in folders.log.read_text(errors="replace").splitlines()]


@pytest.fixture(scope="module")
def good(folders: Folders, collapsed: tuple[Training, list[str]]) -> Path:
    """The checkpoint that is left in the end."""
    return Path((folders.out / "checkpoints" / "last_good_checkpoint.txt").read_text())


def rolled_back_at(rows: tuple[Row, ...]) -> int:
    """The first step that was made after going back."""
    return next(row.step for row in rows if row.values["stability/rollbacks"] == 1)


def test_every_step_has_what_the_detector_reads(collapsed: tuple[Training, list[str]]) -> None:
    for row in collapsed[0].rows:
        assert 0 <= row.values["episode/repetition_rate"] < 1
        assert row.values["episode/retrieval_error_rate"] == 0
        assert 0 <= row.values["episode/truncated"] <= 1
        assert ("group/winner_log_prob/mean" in row.values) is (row.values["group/with_winner"] > 0)
        assert row.values.get("group/winner_log_prob/mean", -1.0) < 0
        assert {"critic/score/mean", "response_length/mean", "episode/answer_rate"} <= set(row.values)
        assert row.values["actor/skipped_steps"] == 1 or {"actor/entropy", "actor/grad_norm"} <= set(row.values)


def test_the_guard_ends_the_run_before_its_last_step(collapsed: tuple[Training, list[str]], good: Path) -> None:
    training, said = collapsed
    assert training.status != 0
    last = training.rows[-1]
    assert last.step < STEPS
    assert last.values["stability/alarms"] >= 1
    # An alarm may come early in a fall, and a step has 16 questions: that it fell is certain, not how far.
    assert last.values[EXACT_MATCH] < max(row.values[EXACT_MATCH] for row in training.rows)
    (error,) = {line for line in said if line.startswith("wapo_verl.guard.guard.CollapseError: ")}
    assert f"the guard stopped the run after step {last.step}: " in error
    assert error.endswith(f"trainer.resume_mode=resume_path trainer.resume_from_path={good}")


def test_the_good_checkpoint_is_from_before_the_alarm_and_outlived_what_verl_kept(
    folders: Folders, collapsed: tuple[Training, list[str]], good: Path
) -> None:
    rows = collapsed[0].rows
    step = int(good.name.removeprefix("global_step_"))
    assert rows[-1].values["stability/last_good_step"] == step
    assert all(row.values["stability/alarms"] == 0 for row in rows if step <= row.step <= step + 2)
    assert (good / "actor" / "model_world_size_1_rank_0.pt").is_file()
    assert json.loads((good / "guard.json").read_text())["tracks"]
    checkpoints = folders.out / "checkpoints"
    assert (checkpoints / "latest_checkpointed_iteration.txt").read_text() == str(step)
    kept = sorted(path.parent.name for path in checkpoints.glob("global_step_*/actor"))
    assert kept == sorted({f"global_step_{step}", f"global_step_{rows[-1].step // SAVE_EVERY * SAVE_EVERY}"})


def test_going_back_gives_actor_and_rollout_the_good_weights(collapsed: tuple[Training, list[str]]) -> None:
    """The optimizer's and schedule's state is that of the good step, and vLLM samples with what the actor then has.

    From then on the learning rate is half the schedule's at every step, which rises up to its twentieth.

    How much is right again is left out: a step has 16 questions, which is too few to be sure of a number.
    """
    training, said = collapsed
    rows = {row.step: row.values for row in training.rows}
    back = rolled_back_at(training.rows)
    source = int(rows[back - 1]["stability/last_good_step"])
    assert any(f"went back to the weights, optimizer and schedule of step {source}" in line for line in said)
    assert rows[back - 1]["stability/alarms"] >= 1
    assert rows[back]["stability/alarms"] == 0
    assert rows[back][ROLLOUT_GAP] < 1e-5
    assert rows[back]["actor/lr"] == pytest.approx(rows[source + 1]["actor/lr"] / 2)
    assert rows[back]["stability/lr_factor"] == 0.5
    trained = [row for row in training.rows if row.step >= back and not row.values["actor/skipped_steps"]]
    for earlier, later in pairwise(trained):
        assert later.values["actor/lr"] == pytest.approx(min(earlier.values["actor/lr"] + 0.003 / 2, 0.06 / 2))


@pytest.mark.nightly
def test_the_good_checkpoint_evaluates_as_it_did(
    folders: Folders, collapsed: tuple[Training, list[str]], good: Path
) -> None:
    step = int(good.name.removeprefix("global_step_"))
    then = next(row.held_out for row in collapsed[0].rows if row.step == step)
    resumed = ["trainer.val_only=True", "trainer.resume_mode=resume_path", f"trainer.resume_from_path={good}"]
    again = run_verl(folders, *resumed)
    assert again.status == 0, folders.log.read_text(errors="replace")[-3000:]
    (row,) = again.rows
    assert row.step == step
    assert then is not None
    assert then > 0
    assert row.held_out == then
