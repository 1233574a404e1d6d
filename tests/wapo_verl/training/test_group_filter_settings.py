"""When veRL's group filter has an end, and what is said where it has none. veRL's own configuration; no Ray, no GPU."""

from pathlib import Path
from typing import Any

import pytest
import verl.trainer
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from verl.utils import device

from wapo_verl.settings import run as run_settings
from wapo_verl.settings.resolve import SettingsError
from wapo_verl.training.group_filter import LIMIT

CONFIG = str(Path(verl.trainer.__file__).parent / "config")


def resolved(*overrides: str) -> Any:
    """A run's settings as they come to be on a GPU."""
    with initialize_config_dir(CONFIG, version_base=None):
        config = compose("ppo_trainer", ["algorithm.adv_estimator=wapo", *overrides])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "get_device_name", lambda: "cuda")
        run_settings.apply(config)
    return config


def test_the_group_filter_gets_a_limit() -> None:
    on = "algorithm.filter_groups.enable=True"
    assert OmegaConf.select(resolved(on), LIMIT) == 10
    assert OmegaConf.select(resolved(on, f"{LIMIT}=3"), LIMIT) == 3
    assert OmegaConf.select(resolved(), LIMIT) == 0, "veRL's own, where nothing is filtered"


def test_a_filter_without_an_end_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"max_num_gen_batches=-1 is no limit, and a step whose groups"):
        resolved("algorithm.filter_groups.enable=True", f"{LIMIT}=-1")


def test_with_verls_own_trainer_the_filter_is_verls() -> None:
    config = resolved("algorithm.filter_groups.enable=True", "+wapo.trainer=False")
    assert OmegaConf.select(config, LIMIT) == 0
