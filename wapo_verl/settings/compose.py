"""Compose veRL's configuration from overrides as its command line does, for commands that start no run or not yet."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import verl.trainer.config
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig
from verl.trainer.ppo.core_algos import AdvantageEstimator

from wapo_verl.algorithms import ALGORITHMS
from wapo_verl.settings.explicit_keys import packaged_keys
from wapo_verl.settings.keys import NAMESPACE, SettingsError, read


def compose(overrides: Sequence[str]) -> DictConfig:
    """Compose veRL's configuration, and check the names of its keys and of ours.

    Raises:
        SettingsError: for an override that veRL's configuration does not take, a key under `wapo.` that nothing reads,
            and an estimator that is almost one of ours.
    """
    try:
        with initialize_config_dir(str(Path(verl.trainer.config.__file__).parent), version_base=None):
            config = hydra_compose("ppo_trainer", overrides=list(overrides))
    except HydraException as error:
        raise SettingsError(_in_one_sentence(str(error))) from error
    estimator = str(config.algorithm.adv_estimator)
    algorithm = ALGORITHMS.get(estimator)
    close = get_close_matches(estimator, ALGORITHMS, 1)
    if algorithm is None and estimator not in set(AdvantageEstimator) and close:
        raise SettingsError(f"there is no algorithm.adv_estimator={estimator}: did you mean {close[0]}?")
    read(config, algorithm)
    return config


def _in_one_sentence(problem: str) -> str:
    """Say what Hydra says, with a suggestion where a key is misspelt."""
    unknown = re.match(r"Could not (?:override|delete from config\.) '([^']+)'", problem)
    if unknown is None:
        return "; ".join(line.strip() for line in problem.splitlines() if line.strip())
    key = unknown[1]
    close = () if key.startswith(f"{NAMESPACE}.") else get_close_matches(key, packaged_keys(), 1, cutoff=0.8)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{key} is not a key of veRL: {hint}+{key}=... adds one"
