"""The detector on made-up runs, rule by rule, and on random ones: pure Python, no veRL, no torch, no GPU."""

import json
import math
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.paths import ROOT

from wapo_verl.guard.detector import Alarm, Detector
from wapo_verl.guard.rules import (
    ANSWERS,
    ENTROPY,
    GRAD_NORM,
    LEAST_REWARD,
    LENGTH,
    MISMATCH,
    MOST_REWARD,
    REPETITION,
    REWARD,
    RULES,
    SEARCHES,
    TRUNCATED,
    WINNER_LOG_PROB,
    WITH_WINNER,
)
from wapo_verl.guard.thresholds import Thresholds

QUICK = Thresholds(baseline_steps=2, patience=2, smoothing_steps=1, constant_reward_steps=3, no_winner_steps=2)


def play(values: Iterable[Mapping[str, float]], thresholds: Thresholds = QUICK) -> dict[str, int]:
    """Observe steps 1, 2, ..., and return the first step of each rule's alarm."""
    detector, first = Detector(thresholds), {}
    for step, metrics in enumerate(values, 1):
        for alarm in detector.observe(step, metrics):
            first.setdefault(alarm.rule, step)
    return first


def of(metric: str, *values: float) -> list[dict[str, float]]:
    return [{metric: value} for value in values]


@pytest.mark.parametrize(
    ("rule", "metric", "good", "bad"),
    [
        ("entropy_floor", ENTROPY, 0.021, 0.019),
        ("entropy_ceiling", ENTROPY, 2.9, 3.1),
        ("reward_fall", REWARD, 0.66, 0.64),
        ("length_floor", LENGTH, 0.31, 0.29),
        ("length_ceiling", LENGTH, 2.9, 3.1),
        ("repetition", REPETITION, 1.19, 1.21),
        ("answer_fall", ANSWERS, 0.76, 0.74),
        ("truncation", TRUNCATED, 1.09, 1.11),
        ("search_floor", SEARCHES, 0.11, 0.09),
        ("mismatch", MISMATCH, 9.9, 10.1),
        ("no_winner", WITH_WINNER, 1.0, 0.0),
        ("grad_norm", GRAD_NORM, 19.0, 21.0),
    ],
)
def test_a_rule_alarms_beyond_its_limit_and_only_there(rule: str, metric: str, good: float, bad: float) -> None:
    """The start is 1, so the limits are the thresholds; patience makes it the second bad step."""
    assert play(of(metric, 1, 1, 1, good, good, good)) == {}
    assert play(of(metric, 1, 1, 1, bad, bad)) == {rule: 5}


@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
def test_one_noisy_step_does_not_alarm(rule: str) -> None:
    bad = {ENTROPY: 0.0, REWARD: 0.0, LENGTH: 0.0, REPETITION: 9.0, ANSWERS: 0.0, GRAD_NORM: math.nan}
    bad |= {SEARCHES: 0.0, WITH_WINNER: 0.0, MISMATCH: 99.0, TRUNCATED: 9.0, WINNER_LOG_PROB: -9.0}
    plain = {**dict.fromkeys(bad, 1.0), WINNER_LOG_PROB: -1.0}
    assert rule not in play([plain, plain, plain, bad, plain, bad, plain])


def test_rewards_of_zero_alarm_after_their_own_patience() -> None:
    assert play(of(REWARD, 0, 0, 0)) == {"reward_constant": 3}
    assert play(of(REWARD, 0, 0, 0.01, 0, 0)) == {}


def rewards(*steps: tuple[float, float, float]) -> list[dict[str, float]]:
    """The least, the mean and the greatest reward of each step."""
    return [dict(zip((LEAST_REWARD, REWARD, MOST_REWARD), step, strict=True)) for step in steps]


@pytest.mark.parametrize("value", [-1.0, 0.0, 0.1, 1.0])
def test_a_reward_that_every_completion_has_alarms_whichever_it_is(value: float) -> None:
    assert play(rewards(*[(value, value, value)] * 60)) == {"reward_constant": 3}


def test_rewards_that_differ_do_not_alarm_though_their_mean_is_zero() -> None:
    assert play(rewards(*[(-1.0, 0.0, 1.0)] * 9)) == {}


def test_a_solved_task_is_no_collapse_and_a_fallen_one_is() -> None:
    start, solved = [(0.0, 0.5, 1.0)] * 3, [(1.0, 1.0, 1.0)] * 9
    assert play(rewards(*start, *solved)) == {}
    assert play(rewards(*start, *solved, *[(0.9, 0.9, 0.9)] * 3)) == {"reward_constant": 15}
    assert play(rewards(*[(-1.0, -0.5, 0.0)] * 3, *[(0.0, 0.0, 0.0)] * 3)) == {"reward_constant": 6}


def test_groups_without_a_winner_alarm_unless_all_rewards_are_the_same() -> None:
    assert play([{WITH_WINNER: 0.0, LEAST_REWARD: 0.0, MOST_REWARD: 1.0}] * 2) == {"no_winner": 2}
    assert play([{WITH_WINNER: 0.0, LEAST_REWARD: 1.0, MOST_REWARD: 1.0}] * 9) == {}


def test_engines_that_agree_to_rounding_have_no_mismatch() -> None:
    assert play(of(MISMATCH, 1e-7, 1e-7, 1e-7, 0.019, 0.019)) == {}
    assert play(of(MISMATCH, 1e-7, 1e-7, 1e-7, 0.021, 0.021)) == {"mismatch": 5}


def test_winners_that_become_less_likely_alarm() -> None:
    assert play(of(WINNER_LOG_PROB, -0.1, -0.1, -0.1, -0.19, -0.19, -0.01)) == {}
    assert play(of(WINNER_LOG_PROB, -0.1, -0.1, -0.1, -0.21, -0.21)) == {"winner_likelihood": 5}


def test_a_start_longer_than_every_other_window_is_still_a_start() -> None:
    long = Thresholds(baseline_steps=30, grad_norm_window=2, smoothing_steps=1, patience=1)
    assert play(of(ENTROPY, *[1.0] * 30, 0.001), long) == {"entropy_floor": 31}


def test_a_run_that_never_searched_cannot_stop() -> None:
    assert play(of(SEARCHES, *[0.0] * 9)) == {}


def test_both_reward_margins_must_be_passed() -> None:
    assert play(of(REWARD, 0.2, 0.2, 0.2, 0.11, 0.11, 0.11)) == {}  # -45 %, but not -0.1
    assert play(of(REWARD, 0.2, 0.2, 0.2, 0.09, 0.09)) == {"reward_fall": 5}


def test_a_fall_is_measured_from_the_best_and_not_from_the_start() -> None:
    assert play(of(REWARD, 0.1, 0.1, 0.5, 0.9, 0.9, 0.5, 0.5)) == {"reward_fall": 7}


def test_smoothing_carries_a_fall_over_a_good_step() -> None:
    run = of(REWARD, 0.9, 0.9, 0.9, 0.9, 0.2, 0.6, 0.2, 0.6)
    assert play(run) == {}
    assert play(run, Thresholds(baseline_steps=2, patience=2, smoothing_steps=4)) == {"reward_fall": 8}


def test_the_median_gradient_norm_follows_the_run_and_never_goes_below_the_start() -> None:
    grown = [1.0] * 3 + [15.0] * 25 + [250.0, 250.0]
    assert play(of(GRAD_NORM, *grown)) == {}
    shrunk = [1.0] * 3 + [0.01] * 25 + [1.0, 1.0]
    assert play(of(GRAD_NORM, *shrunk)) == {}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_alarms_and_is_not_remembered(value: float) -> None:
    detector = Detector(QUICK)
    for step in (1, 2, 3):
        assert detector.observe(step, {GRAD_NORM: 1.0}) == []
    assert detector.observe(4, {GRAD_NORM: value}) == []
    (alarm,) = detector.observe(5, {GRAD_NORM: value})
    assert (alarm.rule, alarm.step) == ("not_finite", 5)
    assert alarm.sentence.startswith(f"{GRAD_NORM} is {value}")
    assert detector.observe(6, {GRAD_NORM: 1.0, "training/pearson": math.nan}) == []


def test_a_step_without_the_metric_says_nothing_and_keeps_the_count() -> None:
    """A batch without a winner takes no step and has no entropy: the collapse is still counted on."""
    values = [*of(ENTROPY, 1, 1, 1, 0.01), {}, {REWARD: 0.5}, *of(ENTROPY, 0.01)]
    assert play(values) == {"entropy_floor": 7}


def test_an_alarm_goes_out_when_its_condition_does() -> None:
    detector = Detector(QUICK)
    alarms = [detector.observe(step, {LENGTH: value}) for step, value in enumerate([9, 9, 9, 1, 1, 1, 9, 1], 1)]
    assert [bool(found) for found in alarms] == [False, False, False, False, True, True, False, False]
    assert detector.doubts == ("length_floor",)


def test_an_alarm_says_what_is_wrong() -> None:
    detector = Detector(QUICK)
    alarms = [detector.observe(step, {ENTROPY: value}) for step, value in enumerate([1, 1, 1, 0.015, 0.01], 1)][-1]
    seen = "the entropy is 0.01, at the start it was 1 (limit 0.02)"
    assert alarms == [Alarm("entropy_floor", 5, ENTROPY, 0.01, 0.02, seen, 2)]
    assert alarms[0].sentence == f"{seen}, 2 steps in a row up to step 5"


numbers = st.floats(allow_nan=True, allow_infinity=True, width=32)
steps = st.dictionaries(st.sampled_from([ENTROPY, REWARD, LENGTH, REPETITION, ANSWERS, GRAD_NORM]), numbers)


@given(st.lists(steps, max_size=30), st.integers(0, 30))
def test_a_resumed_detector_goes_on_as_if_it_had_never_stopped(run: list[dict[str, float]], cut: int) -> None:
    whole, first, second = Detector(QUICK), Detector(QUICK), Detector(QUICK)
    expected = [whole.observe(step, metrics) for step, metrics in enumerate(run)]
    found = [first.observe(step, metrics) for step, metrics in enumerate(run[:cut])]
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    found += [second.observe(step, metrics) for step, metrics in enumerate(run[cut:], cut)]
    assert str(found) == str(expected)  # text, since NaN is not equal to itself


def test_a_loaded_state_is_a_copy() -> None:
    detector = Detector(QUICK)
    detector.observe(1, {ENTROPY: 1.0})
    state = detector.state_dict()
    before = json.dumps(state)
    other = Detector(QUICK)
    other.load_state_dict(state)
    other.observe(2, {ENTROPY: 2.0})
    assert json.dumps(state) == before


def test_a_broken_state_is_refused() -> None:
    with pytest.raises(ValueError, match="no detector's state"):
        Detector().load_state_dict({"tracks": {ENTROPY: {"last": []}}})


def test_the_documented_defaults_are_the_defaults() -> None:
    page = (ROOT / "docs" / "reference.md").read_text()
    documented: dict[str, float] = {}
    for keys, values in re.findall(r"^\| `\+wapo\.guard\.(.+)` \| ([0-9., ]+) \|", page, re.MULTILINE):
        documented |= dict(zip(keys.split("`, `."), map(float, values.split(", ")), strict=True))
    known = Thresholds().model_dump()
    assert {name: value for name, value in documented.items() if name in known} == known


def test_the_detector_needs_neither_torch_nor_verl() -> None:
    """A clean interpreter without site packages' plugins: what the import pulls in is counted."""
    code = "import sys, wapo_verl.guard.detector; print([m for m in ('torch', 'verl', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
