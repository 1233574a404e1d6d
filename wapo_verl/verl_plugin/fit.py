"""Whether the veRL that is imported is as a run needs it: what fits is used, what does not is refused by its names.

The number of the version decides nothing (`seams`). Where only our trainer does not fit and the run has not asked for
it, the algorithm runs with veRL's own trainer, and a line says what is then missing.
"""

from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from wapo_verl.cpu.where import on_cpu
from wapo_verl.say import say
from wapo_verl.verl_plugin import seams
from wapo_verl.verl_plugin.asks import (
    DEFAULT_LOOP,
    DEVICE,
    ESTIMATOR,
    FILES,
    LOOP_MANAGER,
    LOSS,
    NAMESPACE,
    TRAINER_MODE,
    asked,
)
from wapo_verl.verl_plugin.errors import PluginError
from wapo_verl.verl_plugin.verl_source import VerlSource

WITHOUT_OUR_TRAINER = (
    "a step in which nobody has an advantage is taken and not skipped; updates compute on every row and not on the "
    "winners alone; each row counts as a completion of its own, which is exact where an episode is one row; options of "
    "the algorithm have their defaults; a failed episode does not stop the run; and there are no metrics and no dumps "
    "of this project"
)
_TRAINER_FEATURES = (seams.TRAINER, seams.STEP_PLANS, seams.AGENT_LOOPS)
_AGENT_LOOPS = (f"{NAMESPACE}.search_agent", DEFAULT_LOOP, LOOP_MANAGER, *FILES)
_NOT_THE_TRAINERS = (f"{NAMESPACE}.search_agent", f"{NAMESPACE}.trainer")


def fit(config: DictConfig) -> None:
    """Take what fits: refuse the run, leave our trainer out of it in place, or change nothing.

    Raises:
        PluginError: naming the names of veRL that are not as a part of the run needs them.
    """
    import verl

    source, number = VerlSource(Path(verl.__file__).parent), str(verl.__version__)
    asks = asked(config)
    for feature, setting in needed(config, asks).items():
        if wrong := seams.misfits(feature, source):
            raise PluginError(_refusal(feature, setting, number, wrong))
    by_name = _names_our_trainer(asks)
    if by_name or _implies_our_trainer(config, asks):
        wrong = [each for feature in _TRAINER_FEATURES for each in seams.misfits(feature, source)]
        if wrong and by_name:
            raise PluginError(_refusal(seams.TRAINER, by_name, number, wrong))
        if wrong:
            OmegaConf.update(config, f"{NAMESPACE}.trainer", False, force_add=True)
            say(f"its trainer does not fit veRL {number}, so veRL's own runs: {WITHOUT_OUR_TRAINER}")
            say(f"what does not fit: {'; '.join(wrong)}")
            return
    if number != seams.VERSION:
        say(f"written for veRL {seams.VERSION}; all that this run needs of veRL {number} is as it was there")


def needed(config: DictConfig, asks: Mapping[str, str]) -> dict[str, str]:
    """Return the features that a run cannot do without, with the setting that asks for each; our trainer aside.

    Args:
        config: the run's configuration.
        asks: as `asked` returned them.
    """
    found = {seams.SETTINGS: _setting(next(iter(asks)), asks)}
    for key, value in asks.items():
        if key in (ESTIMATOR, LOSS):
            found[seams.ALGORITHMS] = _setting(key, asks)
        if key in _AGENT_LOOPS or "wapo_verl.rollout." in value:
            found[seams.AGENT_LOOPS] = _setting(key, asks)
    if on_cpu(config):
        found[seams.CPU] = _setting(DEVICE, asks) if DEVICE in asks else "a machine without an accelerator"
    return found


def _names_our_trainer(asks: Mapping[str, str]) -> str | None:
    """Return the setting that asks for our trainer, or for what only it does."""
    for key, value in asks.items():
        if key == TRAINER_MODE or (key, value) == (f"{NAMESPACE}.trainer", "True"):
            return _setting(key, asks)
        of_ours = key.startswith(f"{NAMESPACE}.") and key not in _NOT_THE_TRAINERS
        if of_ours and value not in ("None", "False"):
            return _setting(key, asks)
    return None


def _implies_our_trainer(config: DictConfig, asks: Mapping[str, str]) -> bool:
    return ESTIMATOR in asks and OmegaConf.select(config, f"{NAMESPACE}.trainer", default=None) is not False


def _setting(key: str, asks: Mapping[str, str]) -> str:
    return key if key.startswith(f"{NAMESPACE}.") else f"{key}={asks[key]}"


def _refusal(feature: str, setting: str, number: str, wrong: list[str]) -> str:
    return (
        f"{setting} needs wapo-verl's {feature}, written for veRL {seams.VERSION}, and veRL {number} differs: "
        f"{'; '.join(wrong)}. Install veRL {seams.VERSION}, or leave {setting} out"
    )
