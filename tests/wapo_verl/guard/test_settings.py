"""The guard's keys as a user gives them; where the trainer is chosen, in veRL's own configuration. No Ray, no GPU."""

from pathlib import Path
from typing import Any

import pytest
import verl.trainer
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from wapo_verl.guard.settings import guard_settings
from wapo_verl.settings import run as run_settings
from wapo_verl.settings.resolve import SettingsError

CONFIG = str(Path(verl.trainer.__file__).parent / "config")


def make_config(*overrides: str) -> Any:
    """The part of the configuration that the guard reads."""
    verls = {"trainer": {"save_freq": -1, "v1": {"trainer_mode": "sync"}}}
    return OmegaConf.merge(verls, OmegaConf.from_dotlist([override.removeprefix("+") for override in overrides]))


def whole_config(*overrides: str) -> Any:
    with initialize_config_dir(CONFIG, version_base=None):
        return compose("ppo_trainer", list(overrides))


def test_without_the_group_there_is_no_guard() -> None:
    assert guard_settings(make_config()) is None


def test_every_key_arrives() -> None:
    settings = guard_settings(
        make_config(
            "+wapo.guard.action=rollback",
            "+wapo.guard.confirm=4",
            "+wapo.guard.max_rollbacks=2",
            "+wapo.guard.silent=[entropy_floor,grad_norm]",
            "+wapo.guard.patience=6",
            "+wapo.guard.reward_fall_absolute=0.2",
            "trainer.save_freq=5",
        )
    )
    assert settings is not None
    assert (settings.action, settings.confirm, settings.max_rollbacks) == ("rollback", 4, 2)
    assert (settings.thresholds.patience, settings.thresholds.reward_fall_absolute) == (6, 0.2)
    assert not {"entropy_floor", "grad_norm"} & {rule.name for rule in settings.rules}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+wapo.guard=stop"], r"wapo.guard must be a group of keys such as \+wapo.guard.action=stop"),
        (["+wapo.guard.patience=3"], "wapo.guard.action=None is not possible: choose warn, stop, rollback"),
        (["+wapo.guard.action=halt"], "wapo.guard.action=halt is not possible"),
        (
            ["+wapo.guard.action=warn", "+wapo.guard.patients=3"],
            "wapo.guard has no key 'patients'; its keys are action",
        ),
        (["+wapo.guard.action=warn", "+wapo.guard.patience=0"], "wapo.guard: patience counts steps"),
        (["+wapo.guard.action=warn", "+wapo.guard.confirm=soon"], "wapo.guard.confirm must be a whole number"),
        (["+wapo.guard.action=warn", "+wapo.guard.silent=[entropy]"], "silent: there is no rule 'entropy'"),
        (["+wapo.guard.action=stop"], "needs checkpoints, and trainer.save_freq=-1 writes none"),
        (
            ["+wapo.guard.action=rollback", "trainer.save_freq=1", "trainer.v1.trainer_mode=colocate_async"],
            r"take turns \(trainer.v1.trainer_mode=sync\), not in colocate_async",
        ),
    ],
)
def test_what_cannot_be_is_named_with_its_mend(overrides: list[str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        guard_settings(make_config(*overrides))


def test_a_warning_needs_no_checkpoints_and_stopping_works_in_every_mode() -> None:
    assert guard_settings(make_config("+wapo.guard.action=warn")) is not None
    assert guard_settings(
        make_config("+wapo.guard.action=stop", "trainer.save_freq=1", "trainer.v1.trainer_mode=separate_async")
    )


def test_the_guard_brings_its_trainer_under_any_algorithm() -> None:
    config = whole_config("algorithm.adv_estimator=grpo", "+wapo.guard.action=warn")
    run_settings.apply(config)
    assert config.trainer.v1.trainer_mode == "wapo_sync"


@pytest.mark.parametrize("extra", ["+wapo.trainer=false", "trainer.v1.trainer_mode=mine"])
def test_a_guard_that_no_trainer_would_ask_is_an_error(extra: str) -> None:
    config = whole_config("algorithm.adv_estimator=wapo", "+wapo.guard.action=warn", extra)
    with pytest.raises(SettingsError, match=r"wapo\.guard watches from this project's trainer"):
        run_settings.apply(config)
