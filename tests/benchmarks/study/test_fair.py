"""The fair comparison's choices, on records written by hand. No runs, no veRL."""

from collections.abc import Mapping
from math import log10
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.study.__main__ import app
from benchmarks.study.fair import Choice, Protocol, chosen, fresh, tuning
from benchmarks.study.fair_figure import draw_fair
from benchmarks.study.fair_report import fair_page, results, tuning_table
from benchmarks.study.records import Record
from benchmarks.study.settings import Cell, task_folder

PROTOCOL = Protocol(("wapo", "grpo_ref"), (1e-3, 2e-3), 8, tuning_seeds=(0, 1), fresh_seeds=(100, 101, 102))


def run(algorithm: str, rate: float, seed: int, held_out: float, start: float = 0.4, **cell: Any) -> Record:
    """A run of five steps that was right as often in training as it is on the held-out questions after its last one."""
    rewards = [start, start, held_out, held_out, held_out]
    steps: list[Mapping[str, float]] = [{"step": 0, "val/exact_match": start, "val/pass@1": start}]
    steps += [{"step": 1 + place, "critic/score/mean": reward} for place, reward in enumerate(rewards)]
    steps[-1] = {**steps[-1], "val/exact_match": held_out, "val/pass@1": held_out}
    return Record(Cell(algorithm, rate, 8, seed, **cell), {}, tuple(steps), {"cpu": 1.0})


def tuned(algorithm: str, means: Mapping[float, float]) -> list[Record]:
    """Two tuning runs at each rate, .02 above and below the mean where that is above 0."""
    off = {rate: 0.02 * (value > 0) for rate, value in means.items()}
    return [run(algorithm, rate, seed, means[rate] + (2 * seed - 1) * off[rate]) for rate in means for seed in (0, 1)]


def test_the_rate_with_the_best_mean_over_the_tuning_seeds_is_chosen() -> None:
    records = tuned("wapo", {5e-4: 0.7, 1e-3: 0.9, 2e-3: 0.5}) + tuned("grpo_ref", {5e-4: 0.8, 1e-3: 0.8, 2e-3: 0.7})
    assert chosen(records, PROTOCOL) == {"wapo": Choice(1e-3), "grpo_ref": Choice(5e-4)}, "of equals, the smaller rate"


def test_reported_runs_have_no_say_in_the_choice() -> None:
    records = tuned("wapo", {5e-4: 0.7, 1e-3: 0.9, 2e-3: 0.5}) + [run("wapo", 2e-3, seed, 1.0) for seed in (100, 101)]
    assert chosen(records, PROTOCOL) == {"wapo": Choice(1e-3)}
    assert fresh(records, PROTOCOL, "wapo", Choice(1e-3)) == {}


def test_a_seed_cannot_be_tuned_on_and_reported() -> None:
    with pytest.raises(ValueError, match="seed 1 is both a tuning seed and a fresh seed"):
        Protocol(tuning_seeds=(0, 1), fresh_seeds=(1, 100))


def test_rates_off_the_grid_and_other_variants_are_not_tuned_on() -> None:
    records = tuned("wapo", {1e-3: 0.8, 3e-3: 0.99})
    records += [run("wapo", 2e-3, seed, 0.99, clip_ratio_high=0.2) for seed in (0, 1)]
    assert list(tuning(records, PROTOCOL, "wapo").tried) == [1e-3]


def test_a_rate_counts_only_with_all_its_tuning_runs() -> None:
    records = [*tuned("wapo", {1e-3: 0.8}), run("wapo", 2e-3, 0, 0.99)]
    found = tuning(records, PROTOCOL, "wapo")
    assert (list(found.tried), list(found.started), found.best) == ([1e-3], [2e-3], 1e-3)
    assert "| wapo | **0.80** | 0.99* | 0.001 | – |" in tuning_table(records, PROTOCOL)


@pytest.mark.parametrize(
    ("means", "missing"),
    [
        ({1e-3: 0.9, 2e-3: 0.5}, 5e-4),
        ({1e-3: 0.5, 2e-3: 0.9}, 4e-3),
        ({5e-4: 0.8, 1e-3: 0.9, 2e-3: 0.5}, None),
        ({5e-4: 0.8, 1e-3: 0.9, 2e-3: 0.85}, 4e-3),
        ({5e-4: 0.8, 1e-3: 0.9, 2e-3: 0.85, 4e-3: 0.0}, None),
        ({}, None),
    ],
)
def test_the_grid_grows_beyond_a_best_rate_at_its_edge_and_a_stable_greatest(
    means: dict[float, float], missing: float | None
) -> None:
    records = tuned("wapo", means)
    assert tuning(records, PROTOCOL, "wapo").missing == missing
    cells = PROTOCOL.further_tuning_cells(records)
    rates = {cell.learning_rate for cell in cells if cell.clip_ratio_high is None}
    assert rates == (set() if missing is None else {missing})


@pytest.mark.parametrize(("other", "kept"), [(0.95, 0.2), (0.9, None), (0.85, None)])
def test_another_clip_is_tried_at_the_best_rate_and_the_better_one_reported(other: float, kept: float | None) -> None:
    records = tuned("wapo", {5e-4: 0.7, 1e-3: 0.9, 2e-3: 0.5})
    tried = [Cell("wapo", 1e-3, 8, seed, clip_ratio_high=0.2) for seed in (0, 1)]
    assert list(PROTOCOL.further_tuning_cells(records)) == tried
    assert "- wapo: 3 of 3 rates with 2 tuning runs each, not another clip, 0 of 3" in fair_page(records, PROTOCOL)
    records += [run("wapo", 1e-3, seed, other, clip_ratio_high=0.2) for seed in (0, 1)]
    assert list(PROTOCOL.further_tuning_cells(records)) == []
    assert chosen(records, PROTOCOL) == {"wapo": Choice(1e-3, kept)}
    records.append(run("wapo", 1e-3, 100, 0.8, clip_ratio_high=kept))
    assert len(fresh(records, PROTOCOL, "wapo", Choice(1e-3, kept))) == 1
    label, shown = ("wapo", f"0.2: {other:.2f}") if kept is None else ("wapo, clip 0.2", f"**0.2: {other:.2f}**")
    assert f"| {label} | 0.001 | 1 | 0.80 |" in results(records, PROTOCOL)
    assert f"| 0.001 | {shown} |" in tuning_table(records, PROTOCOL)


def test_a_method_without_a_clip_is_tried_with_none() -> None:
    records = tuned("topr", {5e-4: 0.7, 1e-3: 0.9, 2e-3: 0.5})
    assert list(Protocol(("topr",)).further_tuning_cells(records)) == []


def test_the_stable_range_ends_where_a_run_collapses_or_the_mean_is_far_below_the_best() -> None:
    found = tuning(tuned("wapo", {2.5e-4: 0.7, 5e-4: 0.83, 1e-3: 0.9, 2e-3: 0.82, 4e-3: 0.1}), PROTOCOL, "wapo")
    assert found.stable_range == (5e-4, 2e-3)
    assert found.stable_decades == pytest.approx(log10(4))
    assert found.tried[4e-3].collapsed == 2
    one_fell = [*tuned("wapo", {1e-3: 0.8, 4e-3: 0.79}), run("wapo", 2e-3, 0, 1.0), run("wapo", 2e-3, 1, 0.0, 0.8)]
    assert [rate.collapsed for rate in tuning(one_fell, PROTOCOL, "wapo").tried.values()] == [0, 1, 0]
    assert tuning(one_fell, PROTOCOL, "wapo").stable_range == (1e-3, 1e-3), "a range does not leap over a collapse"
    lost = tuning([run("wapo", 1e-3, seed, 0.1, 0.8) for seed in (0, 1)], PROTOCOL, "wapo")
    assert (lost.stable_range, lost.stable_decades) == (None, None)


def test_a_partial_grid_is_reported_with_what_is_missing(tmp_path: Path) -> None:
    records = [*tuned("wapo", {5e-4: 0.7, 1e-3: 0.9, 2e-3: 0.5}), run("wapo", 1e-3, 100, 0.75)]
    wapo, before = results(records, PROTOCOL).splitlines()[2:]
    assert wapo.startswith("| wapo | 0.001 | 1 | 0.75 | – | 0/1 | 0.0 | 0.75 | – |")
    assert before.startswith("| before training | – | 1 | 0.40 |")
    page = fair_page(records, PROTOCOL)
    assert "- wapo: 3 of 3 rates with 2 tuning runs each, not another clip, 1 of 3 fresh seeds" in page
    assert "- grpo_ref: 0 of 2 rates with 2 tuning runs each, 0 of 3 fresh seeds" in page
    draw_fair(records, PROTOCOL, tmp_path / "fair.png")
    assert (tmp_path / "fair.png").read_bytes().startswith(b"\x89PNG")


def test_a_whole_grid_misses_nothing_and_is_compared_seed_by_seed() -> None:
    records = tuned("wapo", {5e-4: 0.7, 1e-3: 0.9, 2e-3: 0.5}) + tuned("grpo_ref", {5e-4: 0.7, 1e-3: 0.8, 2e-3: 0.5})
    for name, clip in (("wapo", 0.2), ("grpo_ref", 9.0)):
        records += [run(name, 1e-3, seed, 0.6, clip_ratio_high=clip) for seed in (0, 1)]
    for seed, luck in ((100, 0.0), (101, 0.1), (102, -0.1)):
        records += [run("wapo", 1e-3, seed, 0.8 + luck), run("grpo_ref", 1e-3, seed, 0.7 + luck)]
    assert "Not finished" not in fair_page(records, PROTOCOL)
    assert "| grpo_ref | 0.001 | 3 | 0.70 (0.48 to 0.86) | -0.10 (-0.10 to -0.10) | 0/3 |" in results(records, PROTOCOL)


def test_a_tasks_runs_have_a_folder_of_their_own() -> None:
    assert [task_folder(Path("runs"), task) for task in ("miniwiki", "sparse")] == [Path("runs"), Path("runs/sparse")]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--task", "wiki"], "there is no task 'wiki'; there are miniwiki, sparse"),
        (["--algorithms", "wappo"], "there is no algorithm 'wappo'; there are"),
        (["--off-policy-steps", "3"], "16 questions a step do not divide into 3 mini-batches"),
    ],
)
def test_a_wrong_comparison_is_refused_before_anything_runs(tmp_path: Path, arguments: list[str], reason: str) -> None:
    finished = CliRunner().invoke(app, ["fair", *arguments, "--out", str(tmp_path / "new")])
    assert finished.exit_code == 1
    assert reason in finished.output.replace("\n", " ")
    assert not (tmp_path / "new").exists()
