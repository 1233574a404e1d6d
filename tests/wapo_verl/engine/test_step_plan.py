"""What a run's `wapo.` groups come to in each step's plan. No engine, no Ray, no GPU."""

from typing import Any

import pytest
from pydantic import ValidationError

from wapo_verl.algorithms.schedules import CURVES
from wapo_verl.engine.step_plan import (
    ClipScheduleKeys,
    NegativeWeights,
    StepPlan,
    StepPlans,
    TaxonomyKeys,
    step_plans,
)


def plans(wapo: dict[str, Any] | None = None, clip_ratio_high: float = 9.0) -> StepPlans:
    wapo = wapo or {}
    models = {"taxonomy": TaxonomyKeys, "negative_weights": NegativeWeights, "clip_schedule": ClipScheduleKeys}
    groups = {name: model(**wapo[name]) if name in wapo else None for name, model in models.items()}
    return step_plans(**groups, winners_kl=wapo.get("winners_kl", False), clip_ratio_high=clip_ratio_high)


def test_nothing_set_asks_for_nothing() -> None:
    made = plans()
    assert made.at(1, 10) == StepPlan()
    assert not made.at(1, 10).needs_statistics
    assert not made.ask
    assert not made.negatives


def test_a_plan_survives_its_way() -> None:
    plan = StepPlan(taxonomy=True, weights={"pos_peak": 1.0}, clip_ratio_high=0.3)
    assert StepPlan.from_dict(plan.to_dict()) == plan


def test_the_plans_survive_the_configuration() -> None:
    made = plans({"negative_weights": {"neg_peak": 0.5}, "clip_schedule": {"kind": "cosine", "final": 4}})
    assert StepPlans.model_validate(made.model_dump()) == made


def test_logging_alone_weights_nothing() -> None:
    plan = plans({"taxonomy": {"log": True}}).at(1, 10)
    assert plan == StepPlan(taxonomy=True)
    assert plan.needs_statistics


@pytest.mark.parametrize(
    ("wapo", "weights"),
    [
        ({"taxonomy": {"include_bins": ["pos_peak"]}}, (1, 0, 0, 0)),
        ({"taxonomy": {"include_bins": ["peak"]}}, (1, 0, 1, 0)),
        ({"taxonomy": {"exclude_bins": ["neg", "pos_valley"]}}, (1, 0, 0, 0)),
        ({"negative_weights": {"neg_peak": 0.1}}, (1, 1, 0.1, 0)),
        ({"taxonomy": {"include_bins": ["pos_peak"]}, "negative_weights": {"neg_valley": 2}}, (1, 0, 0, 2)),
    ],
)
def test_bins_come_to_weights(wapo: dict, weights: tuple[float, ...]) -> None:
    made = plans(wapo)
    found = made.at(1, 10)
    assert found.weights == dict(zip(("pos_peak", "pos_valley", "neg_peak", "neg_valley"), weights, strict=True))
    assert found.needs_statistics
    assert made.negatives is ("negative_weights" in wapo)


@pytest.mark.parametrize(
    ("wapo", "message"),
    [
        ({"negative_weights": {"neg_peak": 1.0, "neg": 1.0}}, "gives neg_peak a weight twice"),
        ({"taxonomy": {"exclude_bins": ["neg"]}, "negative_weights": {"neg": 1.0}}, "is in exclude_bins and has a"),
        ({"negative_weights": {}}, "negative_weights is empty"),
    ],
)
def test_a_bin_weighted_in_two_ways_is_an_error(wapo: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plans(wapo)


@pytest.mark.parametrize(
    ("kind", "values"), [("linear", (9.0, 4.6, 0.2)), ("cosine", (9.0, 4.6, 0.2)), ("constant", (9.0, 9.0, 9.0))]
)
def test_the_clip_follows_its_schedule(kind: str, values: tuple[float, ...]) -> None:
    made = plans({"clip_schedule": {"kind": kind, "final": 0.2}})
    assert [made.at(step, 11).clip_ratio_high for step in (1, 6, 11)] == pytest.approx(values)


def test_every_curve_can_be_asked_for() -> None:
    for kind in CURVES:
        assert plans({"clip_schedule": {"kind": kind, "final": 0.2}}).clip is not None
    with pytest.raises(ValidationError):
        plans({"clip_schedule": {"kind": "cubic", "final": 0.2}})


def test_winners_kl_is_in_every_plan() -> None:
    assert plans({"winners_kl": True}).at(1, 1) == StepPlan(winners_kl=True)
