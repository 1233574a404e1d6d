"""veRL's configuration as its command line composes it, in a third of the time: what is the same each time is kept."""

from copy import deepcopy
from functools import cache
from pathlib import Path

import verl.trainer.config
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

PACKAGED = str(Path(verl.trainer.config.__file__).parent)
NAME = "ppo_trainer"


def compose_run(*overrides: str, directory: str = PACKAGED, name: str = NAME, command_line: bool = False) -> DictConfig:
    """Compose a run's configuration; with `command_line`, leave Hydra as `main_ppo` finds it."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    if (directory, name) == (PACKAGED, NAME) and all("." in each.key_or_group for each in parsed):
        config = deepcopy(_packaged())
        ConfigLoaderImpl._apply_overrides_to_config(parsed, config)
        config.hydra.overrides.task = list(overrides)
    else:  # the choice of a group ("actor=...") changes which files there are
        config = _composed(overrides, directory, name)
    if command_line:
        HydraConfig.instance().set_config(deepcopy(config))
    with open_dict(config):
        del config["hydra"]
    return config


def _composed(overrides: tuple[str, ...], directory: str, name: str) -> DictConfig:
    with initialize_config_dir(directory, version_base=None):
        return compose(name, overrides=list(overrides), return_hydra_config=True)


@cache
def _packaged() -> DictConfig:
    config = _composed((), PACKAGED, NAME)
    OmegaConf.set_struct(config, True)
    return config
