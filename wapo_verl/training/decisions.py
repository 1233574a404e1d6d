"""What was decided for a run's trainer: `wapo_verl.settings` writes it into the configuration, the trainer reads it."""

from typing import Self

from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, ConfigDict

from wapo_verl.engine.step_plan import StepPlans
from wapo_verl.guard.settings import GuardSettings
from wapo_verl.rollout.failures import FailureBudget
from wapo_verl.training.record import RecordKeys

RESOLVED = "wapo.resolved.training"

PREFIX = "wapo_"
"""What this project's trainer modes have before veRL's names."""

MODES = ("sync", "colocate_async", "separate_async")


class Decisions(BaseModel):
    """A run's decisions.

    Attributes:
        algorithm: the name of the algorithm of ours that computes the advantages; None where veRL's estimator does.
        options: the algorithm's options, name -> value.
        winners_only: whether log-probs and updates leave out the rows without an advantage.
        why_all_rows: why they do not, where the user or the algorithm speaks of it; None elsewhere.
        plans: what the steps ask of the engine.
        guard: the guard's settings, or None.
        record: what is written of each completion beside veRL's own dump.
        failures: which failed episodes are left out, and how many.
        filter_batches: batches of prompts in which the group filter must find one batch; None where it is off.
        outcome_parts: reward parts that say whether an answer is right, for groups that win without one; none where no
            reward is shaped.
        outcome_gate: whether completions win only where they differ in these.
        parts_are_declared: whether every number beside the score is a reward part that an environment declares.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    algorithm: str | None = None
    options: dict[str, str] = {}
    winners_only: bool = False
    why_all_rows: str | None = None
    plans: StepPlans = StepPlans()
    guard: GuardSettings | None = None
    record: RecordKeys = RecordKeys()
    failures: FailureBudget = FailureBudget()
    filter_batches: int | None = None
    parts_are_declared: bool = False
    outcome_parts: list[str] = []
    outcome_gate: bool = False

    @classmethod
    def of(cls, config: DictConfig) -> Self:
        """Read the decisions of a run.

        Raises:
            ValueError: where there are none, since nobody resolved the run's settings.
        """
        written = OmegaConf.select(config, RESOLVED)
        if written is None:
            raise ValueError(
                f"{RESOLVED} is missing: this trainer runs after veRL's validate_config, where wapo-verl resolves a "
                "run's settings"
            )
        return cls.model_validate(OmegaConf.to_container(written))
