"""veRL's own configuration of a run, as the command line gives it, and resolved as on a machine with a GPU."""

import copy
import io
from functools import cache
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from support.hydra_runs import compose_run

from wapo_verl.rollout.settings import RESOLVED as SEARCH_AGENT
from wapo_verl.settings import decide, run
from wapo_verl.settings.explicit_keys import explicit_keys
from wapo_verl.settings.keys import read

ACTOR, ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
WAPO = "algorithm.adv_estimator=wapo"


@cache
def _composed(*overrides: str) -> DictConfig:
    return compose_run(*overrides)


def composed(*overrides: str, **changes: Any) -> DictConfig:
    """The configuration with these overrides, and changes of single keys, "__" for a dot."""
    config = copy.deepcopy(_composed(*overrides))
    for key, value in changes.items():
        OmegaConf.update(config, key.replace("__", "."), value, force_add=True)
    return config


def changed(config: DictConfig, *settings: tuple[str, Any]) -> DictConfig:
    """A copy of a configuration with other values."""
    config = copy.deepcopy(config)
    for key, value in settings:
        OmegaConf.update(config, key, value, force_add=True)
    return config


def resolve(config: DictConfig, *explicit: str) -> str:
    """Resolve it in place as on a machine with a GPU, and return what was printed.

    `explicit` are keys that the user set to veRL's own value, which only a command line tells.
    """
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "explicit_keys", lambda config: explicit_keys(config) | set(explicit))
        patch.setenv("VERL_PLATFORM", "nvidia")
        run.apply(config, Console(file=out, width=200))
    return out.getvalue()


def decide_search_agent(config: DictConfig) -> DictConfig:
    """Write what is decided of `wapo.search_agent` where the agent loops read it, as a run's start does."""
    settings = decide.search_agent(config, read(config, None)[0])
    assert settings is not None
    OmegaConf.update(config, SEARCH_AGENT, settings.model_dump(), force_add=True)
    return config


def resolved(*overrides: str, **changes: Any) -> DictConfig:
    """The configuration of `composed`, resolved."""
    config = composed(*overrides, **changes)
    resolve(config)
    return config
