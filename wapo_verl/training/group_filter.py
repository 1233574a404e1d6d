"""veRL's group filter, as this project's trainer obeys it: its metric is compared, and its limit ends a step."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from wapo_verl.algorithms import Default
from wapo_verl.settings.resolve import SettingsError

FILTER = "algorithm.filter_groups"
LIMIT = f"{FILTER}.max_num_gen_batches"
FILTER_DEFAULTS: Mapping[str, Default] = {LIMIT: 10}
"""What a run with veRL's group filter gets where the user says nothing: veRL's own is no limit."""


def group_filter(config: DictConfig) -> bool:
    """Tell whether veRL's group filter is on."""
    return bool(OmegaConf.select(config, f"{FILTER}.enable", default=False))


def check_group_filter(config: DictConfig) -> None:
    """Raise SettingsError where a step of all-equal groups would never end."""
    limit: Any = OmegaConf.select(config, LIMIT, default=0)
    if group_filter(config) and (not isinstance(limit, int) or limit < 1):
        raise SettingsError(
            f"{LIMIT}={limit} is no limit, and a step whose groups are all equal would never end: set a number of "
            f"batches of at least 1, or leave it out ({FILTER_DEFAULTS[LIMIT]})"
        )
