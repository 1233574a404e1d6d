"""What a step is to do beyond the algorithm: the trainer sends a `StepPlan` with each batch, the engine obeys it.

The settings stand under `wapo.`: `taxonomy`, `negative_weights`, `clip_schedule`, `winners_kl`, all off by default.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from wapo_verl.algorithms.schedules import scheduled
from wapo_verl.taxonomy.bins import NEGATIVE, bin_weights

PLAN_KEY = "wapo_plan"
"""Under this name the plan travels with a batch."""

STRATEGIES = ("fsdp", "fsdp2")
"""The values of `actor.strategy` whose engine obeys a plan."""

UNCLIPPED_LOSSES = ("wapo_reinforce", "topr", "gpg", "sapo", "kl_cov", "dro")
"""Values of `policy_loss.loss_mode`, ours and veRL's, whose loss reads no `clip_ratio_high`."""

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step's orders to the engine; the default one asks for nothing but the update's statistics.

    Attributes:
        taxonomy: whether to measure the token taxonomy's diagnostics.
        weights: bin -> weight of its tokens' advantages, all of `BINS`; None where no token is weighted.
        clip_ratio_high: this step's upper clip; None keeps the actor's own.
        winners_kl: whether a KL loss leaves out the tokens without an advantage, and losers where they weigh nothing.
        kept_tokens: whether a token's weight is 1 / (tokens of its row that are trained on).
        hold_schedule: whether the learning rate's schedule stays where it is, since the batch's updates are not over.
        lr_factor: multiple of the schedule's learning rate at which the weights are updated.
        record: whether what the update knows of each token is stored for the records (`token_records`).
    """

    taxonomy: bool = False
    weights: Mapping[str, float] | None = None
    clip_ratio_high: float | None = None
    winners_kl: bool = False
    kept_tokens: bool = False
    hold_schedule: bool = False
    lr_factor: float = 1.0
    record: bool = False

    @property
    def needs_statistics(self) -> bool:
        """Whether the engine has to look at the whole next-token distribution."""
        return self.taxonomy or self.weights is not None

    @property
    def trains_losers(self) -> bool:
        """Whether a loser's token may weigh more than 0."""
        return self.weights is None or any(self.weights[name] for name in NEGATIVE)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan in plain types, as it travels with a batch."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "StepPlan":
        """Read a plan that `to_dict` wrote."""
        return cls(**values)


class _Keys(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class TaxonomyKeys(_Keys):
    """The group `wapo.taxonomy`.

    Attributes:
        log: whether to log the taxonomy's diagnostics.
        losers: whether losers that an algorithm leaves out are sorted and measured too; the update then computes on
            their rows as well, and their tokens weigh 0.
        include_bins: train on the tokens of these bins only.
        exclude_bins: train on all tokens but these bins'.
    """

    log: bool = False
    losers: bool = False
    include_bins: list[str] | None = None
    exclude_bins: list[str] | None = None

    @model_validator(mode="after")
    def _names_bins(self) -> Self:
        bin_weights(self.include_bins, self.exclude_bins)
        if self.losers and not self.log:
            raise ValueError("losers are measured for the log alone: set +wapo.taxonomy.log=true, or leave losers out")
        return self


class NegativeWeights(_Keys):
    """The group `wapo.negative_weights`: the weight of losers' tokens of a bin, `neg` for both."""

    neg_peak: Weight | None = None
    neg_valley: Weight | None = None
    neg: Weight | None = None


class ClipScheduleKeys(_Keys):
    """The group `wapo.clip_schedule`.

    Attributes:
        kind: how the upper clip moves, a name in `CURVES`.
        final: the last step's `clip_ratio_high`; needed unless the clip is constant.
    """

    kind: Literal["constant", "linear", "cosine"]
    final: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _ends_somewhere(self) -> Self:
        if self.final is None and self.kind != "constant":
            raise ValueError(f"a {self.kind} schedule needs `final`, the last step's clip_ratio_high")
        return self


class ClipSchedule(_Keys):
    """How `clip_ratio_high` goes from `start` to `final` over a run."""

    kind: str
    start: float
    final: float

    def at(self, step: int, total_steps: int) -> float:
        """Return the clip of one step, counted from 1."""
        return scheduled(self.start, self.final, self.kind, step, total_steps)


class StepPlans(_Keys):
    """The plans of a whole run.

    Attributes:
        taxonomy, weights, winners_kl, kept_tokens: as in `StepPlan`, the same in every step.
        clip: how the upper clip moves, or None.
        negatives: whether losers' tokens are weighted, so that losers need their advantages.
    """

    taxonomy: bool = False
    weights: dict[str, float] | None = None
    clip: ClipSchedule | None = None
    winners_kl: bool = False
    kept_tokens: bool = False
    negatives: bool = False

    @property
    def ask(self) -> bool:
        """Whether a plan asks the engine for more than the update's statistics."""
        return self.at(1, 1) != StepPlan()

    def at(self, step: int, total_steps: int) -> StepPlan:
        """Return the plan of one step, counted from 1, of a run of `total_steps`."""
        return StepPlan(
            taxonomy=self.taxonomy,
            weights=self.weights,
            clip_ratio_high=None if self.clip is None else self.clip.at(step, total_steps),
            winners_kl=self.winners_kl,
            kept_tokens=self.kept_tokens,
        )


def step_plans(
    taxonomy: TaxonomyKeys | None,
    negative_weights: NegativeWeights | None,
    clip_schedule: ClipScheduleKeys | None,
    winners_kl: bool,
    clip_ratio_high: float,
    kept_tokens: bool = False,
) -> StepPlans:
    """Decide what a run's steps ask of the engine.

    Args:
        taxonomy: `wapo.taxonomy`, or None where it is not set.
        negative_weights: `wapo.negative_weights`, or None.
        clip_schedule: `wapo.clip_schedule`, or None.
        winners_kl: `wapo.winners_kl`.
        clip_ratio_high: the actor's own upper clip, at which a schedule starts.
        kept_tokens: whether `wapo.averaging` is `kept_tokens`.

    Raises:
        ValueError: where the groups weight one bin in two ways; the message names it.
    """
    taxonomy = taxonomy or TaxonomyKeys()
    negatives = None if negative_weights is None else negative_weights.model_dump(exclude_none=True)
    if negatives is None and taxonomy.losers:
        negatives = {"neg": 0.0}
    weights = None
    if taxonomy.include_bins is not None or taxonomy.exclude_bins is not None or negatives is not None:
        weights = bin_weights(taxonomy.include_bins, taxonomy.exclude_bins, negatives)
    clip = None
    if clip_schedule is not None:
        final = clip_ratio_high if clip_schedule.final is None else clip_schedule.final
        clip = ClipSchedule(kind=clip_schedule.kind, start=clip_ratio_high, final=final)
    return StepPlans(
        taxonomy=taxonomy.log,
        weights=weights,
        clip=clip,
        winners_kl=winners_kl,
        kept_tokens=kept_tokens,
        negatives=negatives is not None,
    )
