"""What a run's `wapo.` keys come to in each step's plan, and which are refused. No engine, no Ray, no GPU."""

import inspect
from typing import Any

import pytest
from omegaconf import OmegaConf

from wapo_verl.engine.step_plan import UNCLIPPED_LOSSES, StepPlan, StepPlanner
from wapo_verl.settings.resolve import SettingsError


def make_config(wapo: Any = None, estimator: str = "wapo", **actor: Any) -> Any:
    settings = {
        "strategy": "fsdp2",
        "clip_ratio": 0.2,
        "clip_ratio_high": 9.0,
        "entropy_coeff": 0,
        "use_kl_loss": False,
        "policy_loss": {"loss_mode": "wapo"},
        **actor,
    }
    return OmegaConf.create(
        {
            "algorithm": {"adv_estimator": estimator},
            "actor_rollout_ref": {"actor": settings, "model": {"use_fused_kernels": False}},
            **({} if wapo is None else {"wapo": wapo}),
        }
    )


def test_nothing_set_asks_for_nothing() -> None:
    planner = StepPlanner(make_config())
    assert planner.at(1, 10) == StepPlan()
    assert not planner.at(1, 10).needs_statistics
    assert not planner.asks
    assert planner.resolved() == []
    assert not planner.negatives


def test_a_plan_survives_its_way() -> None:
    plan = StepPlan(taxonomy=True, weights={"pos_peak": 1.0}, clip_ratio_high=0.3)
    assert StepPlan.from_dict(plan.to_dict()) == plan


def test_logging_alone_weights_nothing() -> None:
    plan = StepPlanner(make_config({"taxonomy": {"log": True}})).at(1, 10)
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
    planner = StepPlanner(make_config(wapo))
    found = planner.at(1, 10)
    assert found.weights == dict(zip(("pos_peak", "pos_valley", "neg_peak", "neg_valley"), weights, strict=True))
    assert found.needs_statistics
    assert planner.negatives is ("negative_weights" in wapo)


@pytest.mark.parametrize(
    ("kind", "values"), [("linear", (9.0, 4.6, 0.2)), ("cosine", (9.0, 4.6, 0.2)), ("constant", (9.0, 9.0, 9.0))]
)
def test_the_clip_follows_its_schedule(kind: str, values: tuple[float, ...]) -> None:
    planner = StepPlanner(make_config({"clip_schedule": {"kind": kind, "final": 0.2}}))
    assert [planner.at(step, 11).clip_ratio_high for step in (1, 6, 11)] == pytest.approx(values)
    shown = {entry.key: (entry.value, entry.note) for entry in planner.resolved()}
    assert shown["wapo.clip_schedule.kind"] == (kind, f"clip_ratio_high from 9 to {values[-1]:g}")


def test_a_schedule_starts_at_clip_ratio_where_there_is_no_upper_one() -> None:
    config = make_config({"clip_schedule": {"kind": "linear", "final": 0.1}}, clip_ratio_high=None)
    assert StepPlanner(config).at(1, 5).clip_ratio_high == 0.2


def test_the_resolved_keys_are_shown() -> None:
    taxonomy = {"log": True, "exclude_bins": ["valley"]}
    shown = StepPlanner(make_config({"taxonomy": taxonomy, "negative_weights": {"neg_peak": 0.5}})).resolved()
    assert {entry.key: entry.value for entry in shown} == {
        "wapo.taxonomy.log": "True",
        "wapo.taxonomy.exclude_bins": "['valley']",
        "wapo.negative_weights.neg_peak": "0.5",
    }
    assert {entry.note for entry in shown if entry.key.endswith("_bins") or entry.key.endswith("_peak")} == {
        "weights: pos_peak 1, pos_valley 0, neg_peak 0.5, neg_valley 0"
    }


BINS = {"include_bins": ["pos_peak"]}
LOG = {"taxonomy": {"log": True}}
SCHEDULE = {"clip_schedule": {"kind": "linear", "final": 0.2}}


@pytest.mark.parametrize(
    ("wapo", "message"),
    [
        ({"taxonomy": True}, r"wapo.taxonomy=True is no group of keys: set wapo.taxonomy.log"),
        ({"taxonomy": {"logg": True}}, r"wapo.taxonomy.logg is not a key: choose log, include_bins"),
        ({"taxonomy": {"log": "yes"}}, r"wapo.taxonomy.log=yes is not possible: choose true, false"),
        ({"taxonomy": {"include_bins": ["peek"]}}, r"peek"),
        ({"taxonomy": {"include_bins": []}}, r"empty"),
        ({"taxonomy": {"include_bins": 3}}, r"wapo.taxonomy"),
        ({"taxonomy": {**BINS, "exclude_bins": ["neg"]}}, r"include_bins and exclude_bins"),
        ({"taxonomy": {"renormalise": True}}, r"wapo.taxonomy.renormalise is not a key"),
        ({"negative_weights": {"pos_peak": 1.0}}, r"pos_peak"),
        ({"negative_weights": {"neg_peak": -1.0}}, r"neg_peak is -1"),
        (
            {"negative_weights": 0.1},
            r"wapo.negative_weights=0.1 is no group of keys: set wapo.negative_weights.neg_peak",
        ),
        ({"clip_schedule": "linear"}, r"set wapo.clip_schedule.kind"),
        (
            {"clip_schedule": {"kind": "cubic", "final": 0.2}},
            r"kind=cubic is not possible: choose constant, linear, cos",
        ),
        ({"clip_schedule": {"final": 0.2}}, r"kind=None is not possible"),
        ({"clip_schedule": {"kind": "linear"}}, r"final=None is not possible: give the last step"),
        ({"clip_schedule": {"kind": "linear", "final": 0}}, r"final=0 is not possible"),
        ({"clip_schedule": {"kind": "linear", "final": "low"}}, r"final=low is not possible"),
        ({"clip_schedule": {"kind": "linear", "end": 0.2}}, r"clip_schedule.end is not a key: choose kind, final"),
    ],
)
def test_a_wrong_key_is_named(wapo: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        StepPlanner(make_config(wapo))


@pytest.mark.parametrize("wapo", [LOG, {"taxonomy": BINS}, SCHEDULE])
@pytest.mark.parametrize("strategy", ["megatron", "veomni", "torchtitan", "automodel"])
def test_another_engine_is_refused(wapo: dict, strategy: str) -> None:
    with pytest.raises(SettingsError, match=f"actor.strategy=fsdp or fsdp2, which is {strategy}"):
        StepPlanner(make_config(wapo, strategy=strategy))
    StepPlanner(make_config(strategy=strategy))


def test_fused_kernels_are_refused_where_logits_are_needed() -> None:
    for wapo, refused in ((LOG, True), ({"taxonomy": BINS}, True), (SCHEDULE, False)):
        config = make_config(wapo)
        config.actor_rollout_ref.model.use_fused_kernels = True
        if refused:
            with pytest.raises(SettingsError, match="use_fused_kernels=False"):
                StepPlanner(config)
        else:
            assert StepPlanner(config).schedule is not None


def test_the_kl_loss_of_winners_needs_a_kl_loss() -> None:
    with pytest.raises(SettingsError, match=r"winners_kl has no KL loss to act on: set .*use_kl_loss=True"):
        StepPlanner(make_config({"winners_kl": True}))
    with pytest.raises(SettingsError, match="winners_kl=1 is not possible: choose true, false"):
        StepPlanner(make_config({"winners_kl": 1}, use_kl_loss=True))
    planner = StepPlanner(make_config({"winners_kl": True}, use_kl_loss=True))
    assert planner.at(1, 1) == StepPlan(winners_kl=True)
    assert [(entry.key, entry.value) for entry in planner.resolved()] == [("wapo.winners_kl", "True")]


@pytest.mark.parametrize("loss", ["wapo_reinforce", "gpg", "sapo", "kl_cov", "dro"])
def test_a_schedule_of_a_clip_that_no_loss_has_is_refused(loss: str) -> None:
    with pytest.raises(SettingsError, match=f"clip_schedule has nothing to move: .*loss_mode={loss} has no upper clip"):
        StepPlanner(make_config(SCHEDULE, policy_loss={"loss_mode": loss}))


def test_of_verls_losses_just_those_read_no_upper_clip() -> None:
    from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY

    sources = {
        name: inspect.getsource(loss)
        for name, loss in POLICY_LOSS_REGISTRY.items()
        if loss.__module__.startswith("verl.") and name != "bypass_mode"  # which takes another mode's loss
    }
    unclipped = {name for name, source in sources.items() if "clip_ratio_high" not in source}
    assert unclipped == {name for name in UNCLIPPED_LOSSES if name != "wapo_reinforce"}


@pytest.mark.parametrize("estimator", ["wapo", "grpo", "grpo_ref", "dapo", "cpgd", "rloo"])
def test_losers_can_be_weighted_where_they_carry_something(estimator: str) -> None:
    assert StepPlanner(make_config({"negative_weights": {"neg_peak": 0.1}}, estimator)).negatives


@pytest.mark.parametrize("estimator", ["raft", "raft_pp"])
def test_losers_that_carry_nothing_cannot_be_weighted(estimator: str) -> None:
    with pytest.raises(SettingsError, match=f"a loser of {estimator} carries no negative advantage"):
        StepPlanner(make_config({"negative_weights": {"neg_peak": 0.1}}, estimator))
