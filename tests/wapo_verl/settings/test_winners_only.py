"""When updates leave rows out, and what is said where they do not. veRL's own configuration; no Ray, no GPU."""

from typing import Any

import pytest
from omegaconf import DictConfig
from support.runs import ACTOR, ROLLOUT, WAPO, changed, composed, resolve

from wapo_verl.algorithms import ALGORITHMS
from wapo_verl.settings.keys import SettingsError
from wapo_verl.training.decisions import Decisions

OFF = {
    ("critic.enable", True): "critic.enable trains a critic on every row",
    ("distillation.enabled", True): "distillation.enabled trains on every row",
    (f"{ACTOR}.strategy", "megatron"): f"{ACTOR}.strategy=megatron has no engine of this project's",
    (f"{ACTOR}.entropy_coeff", 0.01): f"{ACTOR}.entropy_coeff gives every row a gradient",
    (f"{ACTOR}.use_kl_loss", True): f"{ACTOR}.use_kl_loss gives every row a gradient",
    (f"{ACTOR}.loss_agg_mode", "token-mean"): f"{ACTOR}.loss_agg_mode=token-mean divides by the tokens of all rows",
    (f"{ACTOR}.loss_scale_factor", None): f"{ACTOR}.loss_scale_factor=null divides by each micro-batch's own width",
    (f"{ACTOR}.shuffle", True): f"{ACTOR}.shuffle deals rows over mini-batches in the workers",
    (f"{ACTOR}.policy_loss.loss_mode", "dro"): f"{ACTOR}.policy_loss.loss_mode=dro lets rows without an advantage",
    (f"{ACTOR}.policy_loss.loss_mode", "clip_cov"): f"{ACTOR}.policy_loss.loss_mode=clip_cov lets rows without an",
}
"""A setting under which rows without an advantage matter to an update, and the reason that is given."""

REFUSED = {
    ("wapo.trainer", False): "wapo.trainer=false leaves the step to veRL's own trainer",
    ("algorithm.use_kl_in_reward", True): "algorithm.use_kl_in_reward needs the reference log-probs of every row",
    (f"{ROLLOUT}.calculate_log_probs", False): f"{ROLLOUT}.calculate_log_probs=False leaves",
}
"""The same, where the run has no decision of this project's trainer, or is refused for another reason too."""


@pytest.fixture(scope="module")
def run() -> DictConfig:
    return composed(WAPO)


def decided(config: DictConfig, *explicit: str) -> tuple[bool, str | None, str]:
    """Resolve a run; return whether rows are left out, why not, and what was printed of it."""
    printed = " ".join(resolve(config, *explicit).split())
    decisions = Decisions.of(config)
    return decisions.winners_only, decisions.why_all_rows, printed


def test_wapo_does_it_by_itself(run: DictConfig) -> None:
    used, reason, printed = decided(changed(run))
    assert (used, reason) == (True, None)
    assert "wapo.winners_only True wapo updates leave out the rows without an advantage" in printed


SEPARATE = [
    ("trainer.v1.trainer_mode", "separate_async"),
    (f"{ROLLOUT}.nnodes", 1),
    (f"{ROLLOUT}.checkpoint_engine.backend", "nccl"),
]


@pytest.mark.parametrize("mode", [[("trainer.v1.trainer_mode", "colocate_async")], SEPARATE], ids=["colocate", "apart"])
def test_asynchronous_modes_do_it_too(mode: list[tuple[str, Any]], run: DictConfig) -> None:
    assert decided(changed(run, *mode))[:2] == (True, None)


def test_recomputed_log_probs_of_apart_devices_are_of_every_row(run: DictConfig) -> None:
    recomputed = ("algorithm.rollout_correction.bypass_mode", False)
    assert decided(changed(run, recomputed), recomputed[0])[0]
    used, reason, _ = decided(changed(run, *SEPARATE, recomputed), recomputed[0])
    assert not used
    assert "unless algorithm.rollout_correction.bypass_mode=True" in str(reason)


def test_a_kl_loss_that_leaves_losers_out_is_let_in(run: DictConfig) -> None:
    assert decided(changed(run, (f"{ACTOR}.use_kl_loss", True), ("wapo.winners_kl", True)))[0]


def test_false_switches_it_off(run: DictConfig) -> None:
    used, reason, printed = decided(changed(run, ("wapo.winners_only", False)))
    assert (used, reason) == (False, "by request")
    assert "wapo.winners_only False user off: by request" in printed


@pytest.mark.parametrize("setting", OFF, ids=str)
def test_it_is_off_where_other_rows_matter(setting: tuple[str, Any], run: DictConfig) -> None:
    """The table says the whole reason, however long, and the other columns beside it."""
    used, reason, printed = decided(changed(run, setting), setting[0])
    assert not used
    assert str(reason).startswith(OFF[setting])
    assert f"wapo.winners_only False wapo off: {OFF[setting]}" in printed


@pytest.mark.parametrize("setting", [*OFF, *REFUSED], ids=str)
def test_asking_for_it_there_is_an_error_that_names_both_keys(setting: tuple[str, Any], run: DictConfig) -> None:
    with pytest.raises(SettingsError) as error:
        resolve(changed(run, setting, ("wapo.winners_only", True)), setting[0])
    said = {**OFF, **REFUSED}[setting]
    assert f"wapo.winners_only=true: {said}" in str(error.value)
    assert setting[0] in str(error.value)


BY_TOKENS = {"psr", "nsr", "w_reinforce"}  # averaged over the tokens of all rows, left out or not


@pytest.mark.parametrize("name", sorted(ALGORITHMS.keys() - {"wapo", "cpgd"} - BY_TOKENS))
def test_other_algorithms_do_it_on_request_only(name: str, run: DictConfig) -> None:
    config = changed(run, ("algorithm.adv_estimator", name))
    used, reason, printed = decided(changed(config))
    assert (used, reason) == (False, None)
    assert "wapo.winners_only" not in printed
    assert decided(changed(config, ("wapo.winners_only", True)))[0]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        *((name, "loss_agg_mode=token-mean divides by the tokens of all rows") for name in sorted(BY_TOKENS)),
        ("cpgd", "loss_mode=cpgd lets rows without an advantage have a say"),
        ("grpo", "wapo.winners_only=true: algorithm.adv_estimator is none of this project's"),
    ],
)
def test_some_never_do_it(name: str, said: str, run: DictConfig) -> None:
    config = changed(run, ("algorithm.adv_estimator", name), ("wapo.trainer", True))
    assert not decided(changed(config))[0]
    with pytest.raises(SettingsError) as error:
        resolve(changed(config, ("wapo.winners_only", True)))
    assert said in str(error.value)
