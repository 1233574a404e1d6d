"""When a run's collapse began, and by which sign: on runs made up by hand, and on random ones. No veRL, no GPU."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from support.paths import ROOT

from wapo_verl.guard.diagnosis import diagnose
from wapo_verl.guard.meanings import MEANINGS
from wapo_verl.guard.rules import ANSWERS, ENTROPY, GRAD_NORM, LENGTH, REWARD, RULES
from wapo_verl.guard.thresholds import Thresholds

QUICK = Thresholds(baseline_steps=2, patience=2, smoothing_steps=1)


def test_an_alarm_says_since_when_its_condition_held() -> None:
    """The entropy is low at 4, normal at 5, low from 6 on; the step without it in between changes nothing."""
    entropy = [1, 1, 1, 0.01, 1, 0.01, None, 0.01, 0.01]
    steps = [(step, {} if value is None else {ENTROPY: float(value)}) for step, value in enumerate(entropy, 1)]
    (first,) = diagnose(steps, QUICK).first
    assert (first.alarm.rule, first.alarm.metric, first.since, first.alarm.step) == ("entropy_floor", ENTROPY, 6, 8)


def test_alarms_come_in_the_order_of_their_steps_and_step_0_is_not_looked_at() -> None:
    steps = [(0, {REWARD: 9.0}), *((step, {REWARD: 0.5, LENGTH: 10.0}) for step in range(1, 9))]
    steps += [(step, {REWARD: 0.5, LENGTH: 1.0}) for step in (9, 10)]
    steps += [(step, {REWARD: 0.1, LENGTH: 1.0}) for step in (11, 12)]
    found = diagnose(steps, QUICK)
    assert [(each.alarm.rule, each.since, each.alarm.step) for each in found.first] == [
        ("length_floor", 9, 10),
        ("reward_fall", 11, 12),
    ]
    assert found.last_good == 3, "five steps before 8, the last one without doubt"


def test_a_run_is_shown_once() -> None:
    """Steps that can be read only once, as from a file, say the same."""
    steps = [(step, {REWARD: 0.5 if step < 9 else 0.1, ENTROPY: 1.0}) for step in range(12)]
    found = diagnose(iter(steps), QUICK)
    assert found == diagnose(steps, QUICK)
    assert (found.first[0].alarm.rule, found.last_good) == ("reward_fall", 3)


def test_what_is_not_finite_is_named() -> None:
    found = diagnose([(step, {GRAD_NORM: math.nan, REWARD: 0.5}) for step in (1, 2)])
    assert [(each.alarm.rule, each.alarm.metric) for each in found.first] == [("not_finite", GRAD_NORM)]
    assert found.last_good is None


def test_rules_that_cannot_look_are_told() -> None:
    found = diagnose([(step, {REWARD: 0.5, ENTROPY: 1.0}) for step in (1, 2)])
    able = {"not_finite", "reward_fall", "reward_constant", "entropy_floor", "entropy_ceiling"}
    assert {rule.name for rule in found.without_metric} == {rule.name for rule in RULES} - able
    assert [rule.name for rule in diagnose([(1, {"loss": 1.0})]).without_metric] == [rule.name for rule in RULES]


numbers = st.floats(0, 2, width=16)
read = st.dictionaries(st.sampled_from([ENTROPY, REWARD, LENGTH, ANSWERS, GRAD_NORM]), numbers)
others = st.dictionaries(st.text().map("custom/".__add__), st.floats())


@settings(max_examples=30)
@given(st.lists(st.tuples(read, others), max_size=15))
def test_a_further_metric_changes_nothing(run: list[tuple[dict[str, float], dict[str, float]]]) -> None:
    plain = diagnose([(step, metrics) for step, (metrics, _) in enumerate(run)], QUICK)
    assert diagnose([(step, metrics | further) for step, (metrics, further) in enumerate(run)], QUICK) == plain


def test_the_page_says_of_each_rule_what_its_alarm_says() -> None:
    page = (ROOT / "docs" / "collapse.md").read_text()
    assert set(MEANINGS) == {rule.name for rule in RULES}
    rows = [row for row in page.splitlines() if row.startswith("| ")]
    for rule in RULES:
        (row,) = [row for row in rows if f"`{rule.name}`: {MEANINGS[rule.name].sentence}" in row]
        assert rule.metric is None or f"`{rule.metric}`" in row
        assert (ROOT / MEANINGS[rule.name].page).is_file()
