"""The guard's settings, read from a run's `+wapo.guard.*` keys and checked before anything is started.

Left out: the thresholds' meaning (`thresholds`) and what an action does (`guard`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, OmegaConf

from wapo_verl.guard.rules import RULES, Rule
from wapo_verl.guard.thresholds import CONFIRM, Thresholds
from wapo_verl.settings.resolve import SettingsError

GROUP = "wapo.guard"
ACTIONS = ("warn", "stop", "rollback")


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """What a user can set: `+wapo.guard.action=stop +wapo.guard.confirm=4 +wapo.guard.patience=5`.

    Attributes:
        action: `warn` prints, `stop` ends the run, `rollback` goes back to the last good checkpoint.
        confirm: steps without an alarm after a checkpoint's own, before it counts as good. An alarm lags the damage by
            about `smoothing_steps` + `patience` - 2 steps, so fewer would take damaged weights for good ones.
        max_rollbacks: how often to go back; the alarm after the last of them ends the run.
        silent: names of rules that are left out.
        thresholds: the detector's, each a key of the same group.
    """

    action: str
    confirm: int = CONFIRM
    max_rollbacks: int = 1
    silent: tuple[str, ...] = ()
    thresholds: Thresholds = field(default_factory=Thresholds)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that are heard."""
        return tuple(rule for rule in RULES if rule.name not in self.silent)

    @property
    def keeps_checkpoints(self) -> bool:
        """Whether the action needs a good checkpoint."""
        return self.action != "warn"


def guard_settings(config: DictConfig) -> GuardSettings | None:
    """Read a run's settings; None where `wapo.guard` is not there.

    Raises:
        SettingsError: for an unknown key, a value that cannot be, or an action that the rest of the run's settings do
            not allow; the message names the key and the mend.
    """
    group = OmegaConf.select(config, GROUP, default=None)
    if group is None:
        return None
    if not isinstance(group, DictConfig):
        raise SettingsError(f"{GROUP} must be a group of keys such as +{GROUP}.action=stop, not {group!r}")
    settings = _read({str(key): value for key, value in group.items()})
    _check_run(config, settings)
    return settings


def _read(given: Mapping[str, Any]) -> GuardSettings:
    own = ("action", "confirm", "max_rollbacks", "silent")
    unknown = sorted(set(given) - set(own) - set(Thresholds.names()))
    if unknown:
        raise SettingsError(f"{GROUP} has no key {unknown[0]!r}; its keys are {', '.join((*own, *Thresholds.names()))}")
    if given.get("action") not in ACTIONS:
        raise SettingsError(f"{GROUP}.action={given.get('action')} is not possible: choose {', '.join(ACTIONS)}")
    for name in ("confirm", "max_rollbacks"):
        value = given.get(name, 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise SettingsError(f"{GROUP}.{name} must be a whole number of at least 1, not {value!r}")
    try:
        thresholds = Thresholds.from_mapping({key: value for key, value in given.items() if key not in own})
    except ValueError as error:
        raise SettingsError(f"{GROUP}: {error}") from error
    values = {name: given[name] for name in own if name in given and name != "silent"}
    return GuardSettings(**values, silent=_silent(given.get("silent", [])), thresholds=thresholds)


def _silent(given: Any) -> tuple[str, ...]:
    names = [rule.name for rule in RULES]
    asked = [given] if isinstance(given, str) else [str(name) for name in given]
    unknown = [name for name in asked if name not in names]
    if unknown:
        raise SettingsError(f"{GROUP}.silent: there is no rule {unknown[0]!r}; choose from {', '.join(names)}")
    return tuple(asked)


def _check_run(config: DictConfig, settings: GuardSettings) -> None:
    """Raise SettingsError where the run does not give the action what it needs."""
    if not settings.keeps_checkpoints:
        return
    doing = f"{GROUP}.action={settings.action}"
    if OmegaConf.select(config, "trainer.save_freq", default=-1) <= 0:
        raise SettingsError(
            f"{doing} needs checkpoints, and trainer.save_freq={config.trainer.save_freq} writes none: set it to a "
            f"number of steps above 0, or {GROUP}.action=warn"
        )
    if OmegaConf.select(config, "actor_rollout_ref.actor.checkpoint.async_save", default=False):
        raise SettingsError(
            f"{doing} must know when a checkpoint is whole: set actor_rollout_ref.actor.checkpoint.async_save=False"
        )
    mode = str(OmegaConf.select(config, "trainer.v1.trainer_mode", default="sync"))
    if settings.action == "rollback" and mode.endswith("async"):
        raise SettingsError(
            f"{doing} works where trainer and rollout take turns (trainer.v1.trainer_mode=sync), not in {mode}: "
            f"there, episodes of the policy that is given up would be trained on; set {GROUP}.action=stop"
        )
