"""Runs of one or two real steps: their records, that they repeat, that finished ones are kept. Imports veRL; no GPU."""

import json
from dataclasses import replace
from io import StringIO
from math import comb
from pathlib import Path

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from benchmarks.study import records
from benchmarks.study.__main__ import app
from benchmarks.study.cell import Sampler, Seed, many_samples, run_cell, winners_of
from benchmarks.study.episodes import Played, Player
from benchmarks.study.figure import draw
from benchmarks.study.grid import run_grid
from benchmarks.study.metrics import pass_metrics
from benchmarks.study.policy import Policy
from benchmarks.study.report import overview, table
from benchmarks.study.settings import Cell, Grid, StudySettings
from wapo_verl.environments.episode_rules import EpisodeLimits, EpisodeRules
from wapo_verl.rollout.trajectory import Trajectory

from .conftest import SETTINGS

LIMITS = EpisodeLimits(max_turns=3, max_turn_tokens=8, announce_budget=False)

SHARED = {
    "critic/score/mean",
    "actor/entropy",
    "actor/grad_norm",
    "actor/ratio_mean",
    "actor/ratio_max",
    "actor/clip_fraction",
    "actor/skipped_steps",
    "training/rollout_probs_diff_mean",
    "group/winner_fraction",
    "group/count",
    "group/all_equal",
    "response_length/mean",
    "episode/answer_rate",
    "episode/searches/mean",
    "episode/repetition_rate",
    "episode/truncated",
}
"""Names that veRL runs give too, and that detectors read."""


def numbers(steps: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in step.items() if not name.startswith("timing_s/")} for step in steps]


def test_a_run_repeats_and_its_steps_have_the_shared_names(seed: Seed) -> None:
    cell = Cell("grpo_ref", 1e-2, 2, 0)
    first, second = (list(run_cell(cell, seed)) for _ in range(2))
    assert numbers(first) == numbers(second)
    assert [step["step"] for step in first] == [0, 1, 2]
    assert ["val/exact_match" in step for step in first] == [True, False, True]
    for step in first[1:]:
        trained = {name for name in SHARED if not name.startswith(("actor/", "training/"))}
        assert set(step) >= (trained if step["actor/skipped_steps"] else SHARED)
        assert {"timing_s/gen", "timing_s/update_actor"} <= set(step)
    json.dumps(first, allow_nan=False)


def test_pass_at_k_is_counted_question_by_question(seed: Seed) -> None:
    question = seed.task.questions["test"][0]
    rewards = [1.0] * 16 + [0.0] * 48 + [0.0] * 64
    played = [Played(question, Trajectory([0], 8), EpisodeRules.of("search_agent", LIMITS), reward=r) for r in rewards]
    found = pass_metrics(played)
    assert found["val/pass@1"] == pytest.approx((0.25 + 0) / 2)
    assert found["val/pass@4"] == pytest.approx((1 - comb(48, 4) / comb(64, 4)) / 2)
    assert found["val/pass@64"] == 0.5


def test_many_samples_are_drawn_of_the_questions_asked_for_and_of_none_by_default(seed: Seed) -> None:
    player = Player(seed.task, seed.settings.task)
    policy = Policy(seed.model(), player.places)
    asked = replace(seed, settings=replace(seed.settings, pass_questions=1))
    assert set(many_samples(player, policy, asked, 0)) == {f"val/pass@{k}" for k in (1, 4, 16, 64)}
    assert many_samples(player, policy, seed, 0) == {}


def test_the_winners_likelihood_is_told_before_and_after_the_update(seed: Seed) -> None:
    player = Player(seed.task, seed.settings.task)
    policy = Policy(seed.model(), player.places)
    episodes = player.play(policy, seed.task.questions["train"][:4], "train", torch.Generator().manual_seed(1))
    for played, reward in zip(episodes, (1.0, 0.0, 1.0, 0.0), strict=True):
        played.reward = reward
    found = winners_of(policy, episodes, 2)
    own = [measure.log_prob for played in (episodes[0], episodes[2]) for measure in played.measures]
    assert found["group/winner_log_prob/mean"] == pytest.approx(sum(own) / len(own))
    assert found["group/winner_log_prob/change"] == pytest.approx(0, abs=1e-5)
    with torch.no_grad():
        policy.model.lm_head.weight.mul_(2.0)  # sharper or blunter: another likelihood
    assert winners_of(policy, episodes, 2)["group/winner_log_prob/change"] != pytest.approx(0, abs=1e-3)
    assert winners_of(policy, episodes[1:2] * 2, 2) == {}


def test_a_batch_in_which_all_are_equal_takes_no_step(seed: Seed) -> None:
    hopeless = replace(seed.settings, task=replace(seed.settings.task, max_turns=1))  # nobody can search and answer
    steps = list(run_cell(Cell("wapo", 1e-2, 1, 0), Seed(seed.out, 0, hopeless)))
    assert [step["actor/skipped_steps"] for step in steps[1:]] == [1.0, 1.0]
    assert "actor/grad_norm" not in steps[1]


def test_stale_rows_are_sampled_with_the_weights_of_so_many_steps_ago(seed: Seed) -> None:
    trained = Policy(seed.model(), 8)
    sampler, seen = Sampler(trained, 8, staleness=2), []
    for step in range(5):
        with torch.no_grad():
            next(trained.model.parameters()).fill_(step)
        seen.append(next(sampler.policy().model.parameters()).mean().item())
    assert seen == [0, 0, 0, 1, 2]
    assert Sampler(trained, 8, staleness=0).policy() is trained


def test_an_unknown_algorithm_is_refused(seed: Seed) -> None:
    with pytest.raises(ValueError, match="no algorithm 'wappo'"):
        list(run_cell(Cell("wappo", 1e-3, 1, 0), seed))


def test_a_grid_is_run_once_and_resumed(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = list(Grid(("wapo", "grpo_ref"), (1e-3,), (1,), (0,)).cells())
    console = Console(file=StringIO())
    assert run_grid(cells[:1], SETTINGS, out, 1, console) == []
    first = records.record_file(out, cells[0])
    written = first.read_bytes()
    assert run_grid(cells, SETTINGS, out, 1, console) == []
    assert first.read_bytes() == written, "a finished run was run again"
    found = records.read_records(out)
    assert {record.cell for record in found} >= set(cells)
    assert found[0].seconds["cpu"] > 0
    other = replace(SETTINGS, steps=3)
    with pytest.raises(ValueError, match="was made with other settings"):
        run_grid(cells, other, out, 1, console)


def test_one_failing_run_does_not_lose_the_others(out: Path) -> None:
    cells = [Cell("nothing", 1e-3, 1, 0), Cell("raft", 1e-3, 1, 0)]
    (failure,) = run_grid(cells, SETTINGS, out, 1, Console(file=StringIO()))
    assert "nothing-lr0.001-k1-seed0 failed: ValueError: there is no algorithm" in failure
    assert records.record_file(out, cells[1]).is_file()


def test_the_report_of_real_runs(out: Path, tmp_path: Path) -> None:
    cells = list(Grid(("wapo", "grpo_ref"), (1e-3,), (1, 2), (0,)).cells())
    assert run_grid(cells, SETTINGS, out, 1, Console(file=StringIO())) == []
    found = [record for record in records.read_records(out) if record.cell in cells]
    lines = [line for line in table(found).splitlines() if line.startswith("|")][2:]
    assert [line.split(" | ")[:4] for line in lines[:3]] == [
        ["| 1", "0.001", "wapo", "1"],
        ["| 1", "0.001", "grpo_ref", "1"],
        ["| 2", "0.001", "wapo", "1"],
    ]
    assert len(lines) == len(cells)
    head, _, first, second = overview(found).splitlines()
    assert head == "|  | 1 update, 0.001 | 2 updates, 0.001 |"
    assert first.startswith("| wapo | ")
    assert second.startswith("| grpo_ref | ")
    draw(found, tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    finished = CliRunner().invoke(app, ["report", str(out)])
    assert finished.exit_code == 0, finished.output
    assert (out / "report.md").is_file()


def test_a_damaged_record_is_named_with_its_mend(tmp_path: Path) -> None:
    file = records.record_file(tmp_path, Cell("wapo", 1e-3, 1, 0))
    file.parent.mkdir()
    file.write_text('{"cell": {')
    with pytest.raises(ValueError, match=f"{file} is no complete record .* remove it"):
        records.read_record(file)


def test_runs_with_other_settings_are_not_put_into_one_table(tmp_path: Path) -> None:
    for seed, steps in ((0, 40), (1, 20)):
        settings = StudySettings(steps=steps)
        records.write_record(tmp_path, Cell("wapo", 1e-3, 1, seed), settings, [{"step": 0}], {"cpu": 1.0})
    finished = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert finished.exit_code == 1
    assert "were made with other settings, which a table must not mix" in finished.output.replace("\n", " ")
    assert "wapo-lr0.001-k1-seed1.jsonl" in finished.output.replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--algorithms", "wappo"], "there is no algorithm 'wappo'; there are"),
        (["--learning-rates", "fast"], "'fast' is no list of numbers"),
        (["--learning-rates", "-1"], "a learning rate must be above 0"),
        (["--off-policy-steps", "3"], "16 questions a step do not divide into 3 mini-batches"),
        (["--algorithms", "wapo:0"], "the clip in 'wapo:0' must be a number above 0, as in wapo:0.2"),
        (["--algorithms", "wapo:tight"], "the clip in 'wapo:tight' must be a number above 0, as in wapo:0.2"),
        (["--seeds", "1,1"], "the grid's seeds hold one twice"),
        (["--seeds", ","], "the grid has no seeds"),
    ],
)
def test_a_wrong_grid_is_refused_before_anything_runs(tmp_path: Path, arguments: list[str], reason: str) -> None:
    finished = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "new")])
    assert finished.exit_code == 1
    assert reason in finished.output.replace("\n", " ")
    assert not (tmp_path / "new").exists()


def test_a_report_on_nothing_says_what_to_run(tmp_path: Path) -> None:
    finished = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert finished.exit_code == 1
    assert "holds no finished run; run `python -m benchmarks.study" in finished.output.replace("\n", " ")


def test_a_grid_goes_seed_by_seed() -> None:
    cells = list(Grid(("wapo", "dapo"), (1e-3, 2e-3), (1, 8), (0, 1)).cells())
    assert [cell.seed for cell in cells] == [0] * 8 + [1] * 8
    assert cells[0].name == "wapo-lr0.001-k1-seed0"
    assert len({cell.name for cell in cells}) == 16
    assert StudySettings().task.group_size == 8


def test_another_clip_is_another_run() -> None:
    (own,) = Grid(("wapo",), (1e-3,), (8,), (0,)).cells()
    (tight,) = Grid(("wapo:0.2",), (1e-3,), (8,), (0,)).cells()
    assert (own.name, tight.name) == ("wapo-lr0.001-k8-seed0", "wapo-clip0.2-lr0.001-k8-seed0")
    assert (own.label, tight.label) == ("wapo", "wapo, clip 0.2")
