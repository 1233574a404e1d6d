"""Counting alarms over recorded runs, on made-up ones: no veRL, no GPU."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.guard.__main__ import app, page, thresholds_from
from benchmarks.guard.evaluation import Kept, Run, counts, mistakes, rehearse, replay, report
from benchmarks.study.records import write_record
from benchmarks.study.settings import Cell, StudySettings
from wapo_verl.guard.rules import LENGTH, REWARD
from wapo_verl.guard.thresholds import Thresholds

QUICK = Thresholds(baseline_steps=2, patience=2, smoothing_steps=1)


def run(
    name: str, lengths: Sequence[float], collapsed_at: int | None, rewards: Sequence[float] = (), seed: int = 0
) -> Run:
    steps: list[dict[str, float]] = [{"step": 0, "val/exact_match": 0.4}]
    for step, length in enumerate(lengths, 1):
        steps.append({"step": step, LENGTH: length, REWARD: rewards[step - 1] if rewards else 0.5})
    return Run(name, seed, steps, collapsed_at)


RUNS = [
    run("calm", [1.0] * 30, None),
    run("odd", [1.0] * 10 + [9.0] * 2 + [1.0] * 18, None),
    run("caught", [1.0] * 20 + [9.0] * 10, 20),
    run("caught-late", [1.0] * 20 + [9.0] * 10, 15),
    run("missed", [1.0] * 30, 20),
    run("premature", [1.0] * 4 + [9.0] * 2 + [1.0] * 24, 20),
]
OUTCOMES = [replay(found, QUICK) for found in RUNS]


def test_each_run_is_replayed_to_its_first_alarms() -> None:
    assert [outcome.alarm() for outcome in OUTCOMES] == [None, 12, 22, 22, None, 6]
    assert OUTCOMES[2].first == {"length_ceiling": 22}
    assert OUTCOMES[2].alarm(["reward_fall"]) is None


def test_runs_are_counted_by_hand() -> None:
    found = counts(OUTCOMES)
    assert (found.sound, found.false_alarms) == (2, 1)
    assert (found.collapsed, found.premature, found.delays) == (4, 1, (2, 7))
    assert found.delay() == "+4.5 (+2 to +7)"
    assert counts(OUTCOMES, ["reward_fall"]).delays == ()


def test_the_first_alarm_is_what_counts_and_later_ones_do_not_mend_it() -> None:
    rewards = [0.9] * 18 + [0.1] * 12
    outcome = replay(run("twice", [1.0] * 4 + [9.0] * 2 + [1.0] * 24, 20, rewards), QUICK)
    assert outcome.first == {"length_ceiling": 6, "reward_fall": 20}
    assert counts([outcome]).premature == 1
    assert counts([outcome], ["reward_fall"]).delays == (0,)


def test_no_runs_of_a_kind_have_no_delay() -> None:
    assert counts([]).delay() == "–"


def test_every_mistake_is_named() -> None:
    assert mistakes(OUTCOMES) == [
        "odd: sound, but length_ceiling at 12; "
        "the reward: 0.50 at its best before, then 0.50 at its lowest, 0.50 at the end",
        "missed: collapsed at 20, not detected",
        "premature: collapsed at 20, premature: length_ceiling at 6",
    ]


def test_the_report_has_a_line_for_each_rule_alone() -> None:
    text = report(OUTCOMES)
    assert "| all rules | 1 of 2 | 2 of 4 | 1 | +4.5 (+2 to +7) |" in text
    assert "| `length_ceiling` alone | 1 of 2 | 2 of 4 | 1 | +4.5 (+2 to +7) |" in text
    assert "| `reward_fall` alone | 0 of 2 | 0 of 4 | 0 | – |" in text


def test_a_rule_alone_is_counted_over_the_runs_that_have_its_metric() -> None:
    text = report([*OUTCOMES, replay(Run("old", 0, [{"step": 1, REWARD: 0.5}], None), QUICK)])
    assert "| all rules | 1 of 3 |" in text
    assert "| `length_ceiling` alone | 1 of 2 |" in text
    assert "| `entropy_floor` alone | not recorded | – | – | – |" in text


def test_seeds_that_were_tuned_on_stand_apart() -> None:
    outcomes = [replay(run(f"s{seed}", [1.0] * 9, None, seed=seed), QUICK) for seed in (0, 1)]
    text = page(outcomes, frozenset({1}), QUICK)
    assert text.index("were not tuned on: 0") < text.index("were tuned on: 1")


def test_a_studys_folder_is_read_labelled_and_counted(tmp_path: Path) -> None:
    """The label is the study's: the sampled exact match falls to nothing at step 11 and stays there."""
    rewards = [0.2 + 0.05 * step for step in range(10)] + [0.0] * 15
    steps = [{"step": step, REWARD: reward} for step, reward in enumerate(rewards, 1)]
    write_record(tmp_path, Cell("wapo", 0.1, 1, 3), StudySettings(), steps, {"wall": 1.0, "cpu": 1.0})
    done = CliRunner().invoke(app, [str(tmp_path), "--out", str(tmp_path / "guard.md"), "--set", "smoothing_steps=2"])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "guard.md").read_text()
    assert "1 runs of the study, 1 of them collapsed" in text
    assert "| all rules | 0 of 0 | 1 of 1 | 0 | " in text
    assert "smoothing_steps 2" in text
    assert "| step | 1 of 1 | " in text


def test_a_folder_without_runs_and_a_wrong_threshold_are_one_sentence(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [str(tmp_path)])
    assert done.exit_code == 1
    assert "holds no finished run" in done.output
    with pytest.raises(ValueError, match="'patience' is no threshold: write key=value"):
        thresholds_from(["patience"])
    assert thresholds_from(["patience=4", "entropy_floor=0"]).entropy_floor == 0.0


def test_a_rehearsal_keeps_what_the_guard_would_have_kept() -> None:
    """Saved every 2 steps, confirmed 2 later: at the alarm of step 12 that is step 8, since doubt begins at 11."""
    rewards = [0.2, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.9, 0.1, 0.0]
    kept = rehearse(run("falls", [1.0] * 10 + [9.0] * 2, 12, rewards), save_every=2, confirm=2, thresholds=QUICK)
    assert kept.step == 8
    assert kept.share == pytest.approx((0.9 + 0.9 + 0.1) / (0.8 + 0.9 + 0.9))
    assert rehearse(run("short", [1.0] * 3 + [9.0] * 2, 4), 2, 2, QUICK) == Kept(None, None)
