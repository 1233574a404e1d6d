"""The definition of a collapse on curves made for it, and the numbers of a summary. No veRL, no GPU."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.study.collapse import collapse_place, label, trailing_means
from benchmarks.study.records import Record
from benchmarks.study.settings import Cell
from benchmarks.study.summary import learned_step, summarise

CURVES = {
    "learns": ([0.3, 0.4, 0.6, 0.8, 0.9, 0.9], None),
    "falls to nothing": ([0.3, 0.6, 0.8, 0.8, 0.0, 0.0, 0.0, 0.0, 0.0], 5),
    "only falls": ([0.3, 0.3, 0.1, 0.0, 0.0, 0.0, 0.0], 3),
    "dips and comes back": ([0.8, 0.8, 0.8, 0.0, 0.0, 0.0, 0.8, 0.8, 0.8], None),
    "ends at more than half": ([0.8, 0.8, 0.8, 0.5, 0.5, 0.5, 0.5, 0.5], None),
    "falls too late to tell": ([0.8, 0.8, 0.8, 0.8, 0.8, 0.0, 0.0, 0.0], None),
    "was never right": ([0.0] * 9, None),
    "has no step": ([], None),
}
shares = st.lists(st.floats(0, 1), max_size=30)


def record(rewards: list[float], held_out: float = 0.5, entropy: float = 0.1, seed: int = 0) -> Record:
    steps = [{"step": place + 1, "critic/score/mean": reward} for place, reward in enumerate(rewards)]
    steps[-1] |= {"val/exact_match": held_out, "actor/entropy": entropy}
    return Record(Cell("wapo", 1e-3, 1, seed), {}, ({"step": 0, "val/exact_match": 0.3}, *steps), {"cpu": 2.0})


@pytest.mark.parametrize(("rewards", "expected"), CURVES.values(), ids=CURVES)
def test_curves(rewards: list[float], expected: int | None) -> None:
    assert collapse_place(rewards) == expected


def test_a_label_is_a_step_and_steps_are_counted_from_one() -> None:
    rewards, place = CURVES["falls to nothing"]
    assert place is not None
    assert label(record(rewards)) == place + 1
    assert label(record(CURVES["learns"][0])) is None


def test_a_run_that_the_last_update_ruins_has_collapsed_at_its_last_step() -> None:
    rewards = CURVES["learns"][0]
    assert label(record(rewards, held_out=0.14)) == len(rewards)
    assert label(record(rewards, held_out=0.16)) is None, "half of the validation before the first step, which was 0.3"


@given(shares, st.floats(0.01, 1))
def test_only_the_shape_of_a_curve_matters(rewards: list[float], factor: float) -> None:
    rewards = [round(reward, 3) for reward in rewards]
    halves = [reward * 0.5 for reward in rewards]
    assert collapse_place(halves) == collapse_place(rewards)


@given(shares)
def test_from_its_label_on_a_run_is_below_half_of_its_best(rewards: list[float]) -> None:
    place = collapse_place(rewards)
    averages = trailing_means(rewards)
    if place is not None:
        assert len(rewards) - place >= 3
        assert all(averages[later] < 0.5 * max(averages[: later + 1]) for later in range(place, len(rewards)))
        assert place == 0 or averages[place - 1] >= 0.5 * max(averages[:place])


@given(shares)
def test_a_run_that_never_falls_has_not_collapsed(rewards: list[float]) -> None:
    assert collapse_place(sorted(rewards)) is None


def test_trailing_means_are_shorter_at_the_start() -> None:
    assert trailing_means([1.0, 0.0, 0.5, 0.0]) == pytest.approx([1.0, 0.5, 0.5, 1 / 6])


def test_a_summary_counts_what_its_runs_did() -> None:
    good = [0.3, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]
    bad = CURVES["falls to nothing"][0]
    found = summarise([record(good, 0.9, 0.1), record(good, 0.8, 0.2, 1), record(bad, 0.1, 3.0, 2)])
    assert (found.runs, found.collapse_steps, found.learned_steps) == (3, (6,), (4, 4))
    assert found.held_out == pytest.approx(0.6)
    assert (found.least, found.most, found.entropy, found.cpu_seconds) == (0.1, 0.9, 0.2, 2.0)
    assert found.typical_learned_step == 4
    assert learned_step(record(bad)) is None
    assert summarise([record(good), record(bad)]).typical_learned_step is None
    assert summarise([record(good)]).deviation == 0.0
