"""The detector's numbers, each with its unit."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

CONFIRM = 5
"""Steps without an alarm that a checkpoint waits for by default, before it counts as good."""

Steps = Annotated[int, Field(ge=1)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Thresholds(BaseModel):
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
        truncation_rise: how far the share of truncated completions may be above the start's.
        winner_log_prob_factor: multiple of the start's mean log-prob of winners' tokens, both below 0.
        grad_norm_factor: multiple of the running median gradient norm, or of the start's where that is larger.
        grad_norm_window: steps of the running median, the present one not among them.
        search_floor: multiple of the start's mean number of searches of an episode.
        mismatch_factor: multiple of the start's mean gap between the probabilities of rollout and actor.
        mismatch_least: gap, a difference of probabilities, up to which no multiple counts: between engines that agree
            to rounding it is 1e-7, and ten times that is nothing.
        no_winner_steps: steps in a row without a winner in any group; in place of `patience`.
        constant_reward_steps: steps in a row whose completions all have one reward; in place of `patience`.
        not_finite_steps: steps in a row with a number that is not finite; in place of `patience`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    baseline_steps: Steps = 5
    patience: Steps = 3
    smoothing_steps: Steps = 4
    entropy_floor: Amount = 0.02
    entropy_ceiling: Amount = 3.0
    length_floor: Amount = 0.3
    length_ceiling: Amount = 3.0
    reward_fall_relative: Amount = 0.35
    reward_fall_absolute: Amount = 0.1
    answer_fall: Amount = 0.25
    repetition_rise: Amount = 0.2
    truncation_rise: Amount = 0.1
    winner_log_prob_factor: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 2.0
    grad_norm_factor: Amount = 20.0
    grad_norm_window: Steps = 20
    search_floor: Annotated[float, Field(ge=0, lt=1)] = 0.1
    mismatch_factor: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 10.0
    mismatch_least: Amount = 0.02
    no_winner_steps: Steps = 5
    constant_reward_steps: Steps = 8
    not_finite_steps: Steps = 2

    @model_validator(mode="after")
    def _floors_are_below_ceilings(self) -> Self:
        for low, high in (("entropy_floor", "entropy_ceiling"), ("length_floor", "length_ceiling")):
            if not getattr(self, low) < 1 < getattr(self, high):
                raise ValueError(
                    f"{low}={getattr(self, low)} and {high}={getattr(self, high)} are multiples of the run's own "
                    "start: set the first below 1 and the second above it"
                )
        return self
