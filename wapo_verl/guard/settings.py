"""What a user can set about the guard: `+wapo.guard.action=stop +wapo.guard.confirm=4 +wapo.guard.patience=5`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from wapo_verl.guard.rules import RULES, Rule
from wapo_verl.guard.thresholds import CONFIRM, Thresholds


class GuardSettings(Thresholds):
    """The group `wapo.guard`; the detector's thresholds are keys of it.

    Attributes:
        action: `warn` prints, `stop` ends the run, `rollback` goes back to the last good checkpoint.
        confirm: steps without an alarm after a checkpoint's own, before it counts as good. An alarm lags the damage by
            about `smoothing_steps` + `patience` - 2 steps, so fewer would take damaged weights for good ones.
        max_rollbacks: how often to go back; the alarm after the last of them ends the run.
        silent: names of rules that are left out; one name may stand without a list.
    """

    action: Literal["warn", "stop", "rollback"]
    confirm: Annotated[int, Field(ge=1)] = CONFIRM
    max_rollbacks: Annotated[int, Field(ge=1)] = 1
    silent: list[str] = Field(default_factory=list)

    @field_validator("silent", mode="before")
    @classmethod
    def _names_rules(cls, value: Any) -> Any:
        asked = [value] if isinstance(value, str) else value
        names = [rule.name for rule in RULES]
        unknown = [name for name in asked if name not in names] if isinstance(asked, list) else []
        if unknown:
            raise ValueError(f"there is no rule {unknown[0]!r}; choose from {', '.join(names)}")
        return asked

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that are heard."""
        return tuple(rule for rule in RULES if rule.name not in self.silent)

    @property
    def keeps_checkpoints(self) -> bool:
        """Whether the action needs a good checkpoint."""
        return self.action != "warn"
