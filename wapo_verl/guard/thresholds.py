"""The detector's numbers, each with its unit, and how keys become them. Left out: the rules that use them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

CONFIRM = 5
"""Steps without an alarm that a checkpoint waits for by default, before it counts as good."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a rule's condition holds, and for how long it must.

    Attributes:
        baseline_steps: steps whose mean is the run's own start.
        patience: steps in a row for which a condition must hold before its rule alarms.
        smoothing_steps: steps whose mean stands for the reward and the answer rate.
        entropy_floor, entropy_ceiling: multiples of the start's entropy. Learning lowers it too: sound runs of the
            study fell to 0.03 of their start with every answer right, so the floor is below that.
        length_floor, length_ceiling: multiples of the start's mean response length.
        reward_fall_relative: share of the best smoothed reward, by which it may fall.
        reward_fall_absolute: reward by which it may fall in any case.
        answer_fall: share of episodes by which the smoothed answer rate may fall from its best.
        repetition_rise: how far the repetition rate may be above the start's, a share of n-grams.
        grad_norm_factor: multiple of the running median gradient norm, or of the start's where that is larger.
        grad_norm_window: steps of the running median, the present one not among them.
        zero_reward_steps: steps in a row whose mean reward is zero; in place of `patience`.
        not_finite_steps: steps in a row with a number that is not finite; in place of `patience`.

    Raises:
        ValueError: for a value of the wrong kind or out of range; the message names the key.
    """

    baseline_steps: int = 5
    patience: int = 3
    smoothing_steps: int = 4
    entropy_floor: float = 0.02
    entropy_ceiling: float = 3.0
    length_floor: float = 0.3
    length_ceiling: float = 3.0
    reward_fall_relative: float = 0.35
    reward_fall_absolute: float = 0.1
    answer_fall: float = 0.25
    repetition_rise: float = 0.2
    grad_norm_factor: float = 20.0
    grad_norm_window: int = 20
    zero_reward_steps: int = 8
    not_finite_steps: int = 2

    def __post_init__(self) -> None:
        for field in fields(self):
            _check(field.name, getattr(self, field.name), whole=field.type in (int, "int"))
        for low, high in (("entropy_floor", "entropy_ceiling"), ("length_floor", "length_ceiling")):
            if not getattr(self, low) < 1 < getattr(self, high):
                raise ValueError(
                    f"{low}={getattr(self, low)} and {high}={getattr(self, high)} are multiples of the run's own "
                    "start: set the first below 1 and the second above it"
                )

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Every key."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> Self:
        """Take what is given, the default elsewhere.

        Raises:
            ValueError: for an unknown key or a value that cannot be; the message names it.
        """
        unknown = sorted(set(given) - set(cls.names()))
        if unknown:
            raise ValueError(f"there is no threshold {unknown[0]!r}; choose from {', '.join(cls.names())}")
        return cls(**given)


def _check(name: str, value: Any, whole: bool) -> None:
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise ValueError(f"{name} must be a {'whole ' if whole else ''}number, not {value!r}")
    if whole and value < 1:
        raise ValueError(f"{name} counts steps and must be at least 1, not {value}")
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name} must be a finite number of at least 0, not {value}")
