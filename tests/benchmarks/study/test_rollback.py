"""The guard in a run of the study: real weights and checkpoints, made-up metrics. Imports veRL; no GPU."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.guard.rollback import NONE, ROLLBACK, STOPPED, Variant, Watched, finished, has_alarm, run_watched, table
from benchmarks.study.cell import Seed, run_cell
from benchmarks.study.policy import Policy
from benchmarks.study.records import HELD_OUT, REWARD, Record
from benchmarks.study.settings import Cell
from benchmarks.study.update import Loss, Trainer, actor_config
from wapo_verl.algorithms import ALGORITHMS
from wapo_verl.guard.rules import LENGTH
from wapo_verl.guard.settings import GuardSettings

QUICK: dict[str, Any] = {**ROLLBACK, "confirm": 2, "baseline_steps": 2, "patience": 2}
GOOD, BAD = {LENGTH: 10.0}, {LENGTH: 100.0}


def weights(trainer: Trainer) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten().clone() for parameter in trainer.policy.model.parameters()])


def test_a_rollback_gives_back_weights_optimizer_and_schedule_and_lowers_the_rate(seed: Seed, tmp_path: Path) -> None:
    loss = Loss(actor_config(ALGORITHMS["wapo"], 1, seed.settings.task))
    trainer = Trainer(Policy(seed.model(), 8), loss, 1e-3, 2)
    settings = GuardSettings.model_validate({**QUICK, "max_rollbacks": 1, "on_rollback": {"lr_factor": 0.5}})
    watched, kept = Watched(settings, tmp_path), []
    for step, metrics in enumerate((GOOD, GOOD, GOOD, GOOD, BAD, BAD, BAD, BAD), 1):
        stopped = watched.ends(trainer)
        with torch.no_grad():
            next(trainer.policy.model.parameters()).add_(1.0)
        kept.append(weights(trainer))
        if step == 7:
            assert trainer.lr_factor == 0.5
            first = next(trainer.policy.model.parameters()).numel()
            torch.testing.assert_close(kept[-1][:first], kept[1][:first] + 1, rtol=0, atol=0)
            torch.testing.assert_close(kept[-1][first:], kept[1][first:], rtol=0, atol=0)
        assert not stopped
        watched.observe(step, metrics, trainer)
    assert watched.ends(trainer)


def test_a_run_without_an_alarm_is_the_run_without_a_guard(seed: Seed) -> None:
    cell = Cell("grpo_ref", 1e-2, 2, 0)
    steps = run_watched(cell, seed, Variant())
    assert steps[-1][STOPPED] == 0.0
    for found, expected in zip(steps, run_cell(cell, seed), strict=True):
        names = [name for name in expected if not name.startswith("timing_s/")]
        assert {name: found[name] for name in names} == {name: expected[name] for name in names}


def record(rewards: Sequence[float], stopped: bool = False, held_out: float = 0.8, rollbacks: int = 0) -> Record:
    steps: list[dict[str, float]] = [{"step": 0, HELD_OUT: 0.4}]
    steps += [{"step": step, REWARD: reward} for step, reward in enumerate(rewards, 1)]
    steps[-1] |= {HELD_OUT: held_out, STOPPED: float(stopped), "stability/rollbacks": float(rollbacks)}
    return Record(Cell("wapo", 0.004, 8, 0), {}, tuple(steps), {})


RISES, FALLS = [0.4, 0.6, 0.8] * 6, [0.8] * 9 + [0.0] * 9


def test_a_run_is_finished_where_neither_collapse_nor_guard_has_ended_it() -> None:
    assert finished(record(RISES))
    assert not finished(record(RISES, stopped=True))
    assert not finished(record(FALLS, held_out=0.0))
    assert has_alarm(record(FALLS))
    assert not has_alarm(record([0.8] * 18))


def test_the_table_counts_by_hand() -> None:
    found = [
        (record(FALLS, held_out=0.0), {"rollback": record(RISES, rollbacks=2)}),
        (record(FALLS, held_out=0.0), {"rollback": record(RISES, stopped=True, held_out=0.5, rollbacks=3)}),
        (record(RISES), {"rollback": record(RISES, rollbacks=1)}),
    ]
    lines = table(found).splitlines()[2:]
    assert lines == [
        f"| wapo, collapse without a guard | {NONE} | 0 of 2 | – | – | 0.00 (0.00) |",
        "| wapo, collapse without a guard | rollback | 1 of 2 | 1 (1) | 2.5 | 0.65 (0.50) |",
        f"| wapo, sound, with an alarm | {NONE} | 1 of 1 | – | – | 0.80 (0.80) |",
        "| wapo, sound, with an alarm | rollback | 1 of 1 | 0 (0) | 1.0 | 0.80 (0.80) |",
    ]
