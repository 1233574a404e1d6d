"""What can be asked of sampling, and what is said where it cannot be. veRL's own configuration; no Ray, no GPU."""

import copy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import verl.trainer
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from verl.utils import device

from wapo_verl.algorithms import algorithms
from wapo_verl.settings import run as run_settings
from wapo_verl.settings.resolve import SettingsError
from wapo_verl.training.sampling_settings import LIMIT, MANAGER, SettledGroups, resolved_sampling, settled_groups

CONFIG = str(Path(verl.trainer.__file__).parent / "config")
PROBE = "wapo.settled_groups.probe"
REFUSED = {
    ("actor_rollout_ref.rollout.n", 4): "rollout.n=4 leaves nothing to stop: set a smaller probe or a larger n",
    ("trainer.v1.trainer_mode", "colocate_async"): "trainer_mode=colocate_async is not built nor tested",
    ("actor_rollout_ref.actor.use_kl_loss", True): "use_kl_loss gives every row a gradient",
    ("algorithm.adv_estimator", "grpo"): "algorithm.adv_estimator is none of this project's",
    ("algorithm.adv_estimator", "raft"): "adv_estimator=raft trains on groups that are all right",
    ("algorithm.adv_estimator", "raft_pp"): "trains on groups that are all right",
    ("wapo.truncated", "zero"): "wapo.truncated=zero changes rewards after they were looked at",
    ("reward.reward_model.enable", True): "a colocated reward model scores after sampling",
    (MANAGER, "my.own.Manager"): f"{MANAGER} is not this project's",
}
"""A setting under which settled groups cannot be stopped, and what is said."""


@cache
def composed() -> Any:
    with initialize_config_dir(CONFIG, version_base=None):
        return compose("ppo_trainer", ["algorithm.adv_estimator=wapo"])


def resolved(**settings: Any) -> Any:
    """A run's settings as they come to be on a GPU, the table printed; keys have `__` for a dot."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "get_device_name", lambda: "cuda")
        config = changed(composed(), *((key.replace("__", "."), value) for key, value in settings.items()))
        run_settings.apply(config)
    return config


@pytest.fixture(scope="module")
def ready() -> Any:
    return resolved(wapo__settled_groups__probe=4)


def changed(config: Any, *settings: tuple[str, Any]) -> Any:
    config = copy.deepcopy(config)
    for key, value in settings:
        OmegaConf.update(config, key, value, force_add=True)
    return config


def with_algorithm(config: Any, name: str) -> Any:
    """The configuration with another algorithm's own settings."""
    found = algorithms().get(name)
    losses = [] if found is None else [(key, value) for key, value in found.defaults.items() if not callable(value)]
    return changed(config, ("algorithm.adv_estimator", name), *losses)


def test_it_is_off_by_default() -> None:
    config = resolved()
    assert settled_groups(config) is None
    assert resolved_sampling(config) == []


def test_the_table_says_what_is_left_out(ready: Any, capsys: pytest.CaptureFixture) -> None:
    assert settled_groups(ready) == SettledGroups(probe=4, reward=1.0)
    probe, reward = resolved_sampling(ready)
    assert (probe.key, probe.value, probe.origin) == (PROBE, 4, "user")
    assert probe.note == "where all are right, the other 4 are not asked for"
    assert reward.value == 1.0
    resolved(wapo__settled_groups__probe=4)
    assert probe.note in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("setting", REFUSED, ids=str)
def test_what_cannot_work_is_refused(setting: tuple[str, Any], ready: Any) -> None:
    key, value = setting
    config = with_algorithm(ready, value) if key == "algorithm.adv_estimator" else changed(ready, setting)
    with pytest.raises(SettingsError) as error:
        resolved_sampling(config)
    assert str(error.value).startswith(f"{PROBE}=4: ")
    assert REFUSED[setting] in str(error.value)


@pytest.mark.parametrize("name", sorted(algorithms().keys() - {"wapo", "cpgd", "raft", "raft_pp"}))
def test_algorithms_without_an_advantage_in_equal_groups_can(name: str, ready: Any) -> None:
    assert len(resolved_sampling(with_algorithm(ready, name))) == 2


def test_cpgds_drift_acts_on_every_completion(ready: Any) -> None:
    with pytest.raises(SettingsError, match="loss_mode=cpgd lets rows without an advantage have a say"):
        resolved_sampling(with_algorithm(ready, "cpgd"))


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"probe": 0}, r"probe must be a whole number of at least 1, not 0"),
        ({"probe": "half"}, r"probe must be a whole number of at least 1, not 'half'"),
        ({"reward": 1}, r"probe must be a whole number of at least 1, not None"),
        (4, r"settled_groups must be a group of keys such as \+wapo\.settled_groups\.probe=4"),
        ({"k": 4}, r"settled_groups has no key 'k'; its keys are probe, reward"),
    ],
)
def test_a_wrong_key_or_value_is_named(group: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        resolved(wapo__settled_groups=group)


def test_a_reward_that_is_no_number_is_named(ready: Any) -> None:
    with pytest.raises(SettingsError, match="reward must be a number"):
        settled_groups(changed(ready, ("wapo.settled_groups.reward", "full")))


def test_it_needs_this_projects_trainer() -> None:
    with pytest.raises(SettingsError, match=r"settled_groups needs this project's trainer: leave out wapo\.trainer"):
        resolved(wapo__settled_groups__probe=4, wapo__trainer=False)


def test_the_group_filter_gets_a_limit() -> None:
    assert OmegaConf.select(resolved(algorithm__filter_groups__enable=True), LIMIT) == 10
    assert (
        OmegaConf.select(
            resolved(algorithm__filter_groups__enable=True, algorithm__filter_groups__max_num_gen_batches=3), LIMIT
        )
        == 3
    )
    assert OmegaConf.select(resolved(), LIMIT) == 0, "veRL's own, where nothing is filtered"


def test_a_filter_without_an_end_is_refused(ready: Any) -> None:
    config = changed(ready, ("algorithm.filter_groups.enable", True), (LIMIT, 0))
    with pytest.raises(SettingsError, match=r"max_num_gen_batches=0 is no limit, and a step whose groups"):
        resolved_sampling(config)


def test_with_verls_own_trainer_the_filter_is_verls() -> None:
    config = resolved(algorithm__filter_groups__enable=True, wapo__trainer=False)
    assert OmegaConf.select(config, LIMIT) == 0


def test_filter_and_probe_go_together_where_a_probe_can_be_equal(ready: Any) -> None:
    filtered = changed(ready, ("algorithm.filter_groups.enable", True), (LIMIT, 3))
    assert len(resolved_sampling(filtered)) == 2
    with pytest.raises(SettingsError, match="cannot tell that a group of one is all-equal: set a probe of at least 2"):
        resolved_sampling(changed(filtered, (PROBE, 1)))
