"""What a user can set about the guard: `+wapo.guard.action=stop +wapo.guard.confirm=4 +wapo.guard.patience=5`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from wapo_verl.guard.rules import RULES, Rule
from wapo_verl.guard.thresholds import CONFIRM, Thresholds


class OnRollback(BaseModel):
    """The group `wapo.guard.on_rollback`: what a rollback changes, so that the run does not meet the same wall.

    Attributes:
        lr_factor: what each rollback multiplies the actor's learning rate by, in (0, 1].
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    lr_factor: Annotated[float, Field(gt=0, le=1, description="give a number above 0 and of at most 1, such as 0.5")]


class GuardSettings(Thresholds):
    """The group `wapo.guard`; the detector's thresholds are keys of it.

    Attributes:
        action: `warn` prints, `stop` ends the run, `rollback` goes back to the last good checkpoint.
        confirm: steps without an alarm after a checkpoint's own, before it counts as good. An alarm lags the damage by
            about `smoothing_steps` + `patience` - 2 steps, so fewer would take damaged weights for good ones.
        max_rollbacks: how often to go back; the alarm after the last of them ends the run.
        on_rollback: what a rollback changes; None changes nothing.
        silent: names of rules that are left out; one name may stand without a list.
    """

    action: Literal["warn", "stop", "rollback"]
    confirm: Annotated[int, Field(ge=1)] = CONFIRM
    max_rollbacks: Annotated[int, Field(ge=1)] = 1
    on_rollback: OnRollback | None = None
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

    @model_validator(mode="after")
    def _has_rollbacks(self) -> Self:
        if self.on_rollback is not None and self.action != "rollback":
            raise ValueError(
                f"on_rollback has no effect with action={self.action}: set wapo.guard.action=rollback, or leave it out"
            )
        return self

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that are heard."""
        return tuple(rule for rule in RULES if rule.name not in self.silent)

    @property
    def keeps_checkpoints(self) -> bool:
        """Whether the action needs a good checkpoint."""
        return self.action != "warn"
