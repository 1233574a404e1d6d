"""When updates leave rows out, and what is said where they do not. veRL's own configuration; no Ray, no GPU."""

import copy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import verl.trainer
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from wapo_verl.algorithms import algorithms
from wapo_verl.settings import run as run_settings
from wapo_verl.settings.resolve import SettingsError
from wapo_verl.training.winners_settings import resolved_winners_only, winners_only

CONFIG = str(Path(verl.trainer.__file__).parent / "config")
ACTOR = "actor_rollout_ref.actor"
OFF = {
    (
        "trainer.v1.trainer_mode",
        "wapo_colocate_async",
    ): "trainer.v1.trainer_mode=colocate_async is not built nor tested",
    (
        "trainer.v1.trainer_mode",
        "wapo_separate_async",
    ): "trainer.v1.trainer_mode=separate_async is not built nor tested",
    ("wapo.trainer", False): "wapo.trainer=false leaves the step to veRL's own trainer",
    ("critic.enable", True): "critic.enable trains a critic on every row",
    ("distillation.enabled", True): "distillation.enabled trains on every row",
    ("algorithm.use_kl_in_reward", True): "algorithm.use_kl_in_reward needs the reference log-probs of every row",
    (f"{ACTOR}.strategy", "megatron"): f"{ACTOR}.strategy=megatron has no engine of this project's",
    (f"{ACTOR}.entropy_coeff", 0.01): f"{ACTOR}.entropy_coeff gives every row a gradient",
    (f"{ACTOR}.use_kl_loss", True): f"{ACTOR}.use_kl_loss gives every row a gradient",
    (
        "actor_rollout_ref.rollout.calculate_log_probs",
        False,
    ): "actor_rollout_ref.rollout.calculate_log_probs=False leaves",
    (f"{ACTOR}.loss_agg_mode", "token-mean"): f"{ACTOR}.loss_agg_mode=token-mean divides by the tokens of all rows",
    (f"{ACTOR}.loss_scale_factor", None): f"{ACTOR}.loss_scale_factor=null divides by each micro-batch's own width",
    (f"{ACTOR}.shuffle", True): f"{ACTOR}.shuffle deals rows over mini-batches in the workers",
    (f"{ACTOR}.policy_loss.loss_mode", "dro"): f"{ACTOR}.policy_loss.loss_mode=dro lets rows without an advantage",
    (f"{ACTOR}.policy_loss.loss_mode", "clip_cov"): f"{ACTOR}.policy_loss.loss_mode=clip_cov lets rows without an",
}
"""A setting under which rows without an advantage matter to an update, and the reason that is given."""


@cache
def composed(*overrides: str) -> Any:
    with initialize_config_dir(CONFIG, version_base=None):
        return compose("ppo_trainer", list(overrides))


def resolved(*overrides: str) -> Any:
    """A run's settings as they come to be, the table printed."""
    config = copy.deepcopy(composed(*overrides))
    run_settings.apply(config)
    return config


@pytest.fixture(scope="module")
def ready() -> Any:
    """WAPO's settings on a GPU, resolved."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VERL_PLATFORM", "nvidia")
        return resolved("algorithm.adv_estimator=wapo")


def changed(config: Any, *settings: tuple[str, Any]) -> Any:
    config = copy.deepcopy(config)
    for key, value in settings:
        OmegaConf.update(config, key, value, force_add=True)
    return config


def test_wapo_does_it_by_itself(ready: Any) -> None:
    assert winners_only(ready)
    (line,) = resolved_winners_only(ready)
    assert (line.key, line.value, line.origin) == ("wapo.winners_only", True, "wapo")


def test_a_kl_loss_that_leaves_losers_out_is_let_in(ready: Any) -> None:
    assert winners_only(changed(ready, (f"{ACTOR}.use_kl_loss", True), ("wapo.winners_kl", True)))


def test_the_printed_table_says_why_it_is_off(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """The whole reason, however long, and the other columns beside it."""
    monkeypatch.setenv("VERL_PLATFORM", "nvidia")
    resolved("algorithm.adv_estimator=wapo", "trainer.v1.trainer_mode=separate_async")
    reason = "trainer.v1.trainer_mode=separate_async is not built nor tested for it; sync mode is"
    assert f"wapo.winners_only False wapo off: {reason}" in " ".join(capsys.readouterr().out.split())


def test_false_switches_it_off(ready: Any) -> None:
    config = changed(ready, ("wapo.winners_only", False))
    assert not winners_only(config)
    (line,) = resolved_winners_only(config)
    assert (line.value, line.origin, line.note) == (False, "user", "off: by request")


@pytest.mark.parametrize("setting", OFF, ids=str)
def test_it_is_off_where_other_rows_matter(setting: tuple[str, Any], ready: Any) -> None:
    config = changed(ready, setting)
    assert not winners_only(config)
    (line,) = resolved_winners_only(config)
    assert (line.value, line.origin) == (False, "wapo")
    assert line.note.startswith(f"off: {OFF[setting]}")


@pytest.mark.parametrize("setting", OFF, ids=str)
def test_asking_for_it_there_is_an_error_that_names_both_keys(setting: tuple[str, Any], ready: Any) -> None:
    with pytest.raises(SettingsError) as error:
        resolved_winners_only(changed(ready, setting, ("wapo.winners_only", True)))
    assert str(error.value).startswith(f"wapo.winners_only=true: {OFF[setting]}")
    assert setting[0] in str(error.value)


def test_another_value_is_an_error(ready: Any) -> None:
    with pytest.raises(SettingsError, match=r"wapo\.winners_only=always is not possible: choose true, false"):
        winners_only(changed(ready, ("wapo.winners_only", "always")))


@pytest.mark.parametrize("name", sorted(algorithms().keys() - {"wapo", "cpgd"}))
def test_other_algorithms_do_it_on_request_only(name: str, ready: Any) -> None:
    losses = [(key, value) for key, value in algorithms()[name].defaults.items() if not callable(value)]
    config = changed(ready, ("algorithm.adv_estimator", name), *losses)
    assert not winners_only(config)
    assert resolved_winners_only(config) == []
    assert winners_only(changed(config, ("wapo.winners_only", True)))


def test_cpgd_never_does_it(ready: Any) -> None:
    loss = (f"{ACTOR}.policy_loss.loss_mode", "cpgd")
    config = changed(ready, ("algorithm.adv_estimator", "cpgd"), loss)
    assert not winners_only(config)
    with pytest.raises(SettingsError, match="loss_mode=cpgd lets rows without an advantage have a say"):
        winners_only(changed(config, ("wapo.winners_only", True)))


def test_verls_own_algorithms_never_do_it(ready: Any) -> None:
    config = changed(ready, ("algorithm.adv_estimator", "grpo"))
    assert not winners_only(config)
    with pytest.raises(SettingsError, match=r"winners_only=true: algorithm\.adv_estimator is none of this project's"):
        winners_only(changed(config, ("wapo.winners_only", True)))
