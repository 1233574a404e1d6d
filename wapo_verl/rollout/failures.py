"""The failure budget `wapo.failures`, and the failures of a run's episodes: which are left out, and as what.

Light on purpose (no torch, no veRL): the run's driver decides the budget before anything is started.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, ConfigDict, Field

from retrieval_index import RetrievalError
from wapo_verl.environments.episode import FAILED, Episode
from wapo_verl.environments.failures import CONTEXT, GENERATION, REASONS, RETRIEVER, VERIFIER
from wapo_verl.rollout.trajectory import PromptTooLong

GROUP = "wapo.failures"
RESOLVED = "wapo.resolved.training.failures"
"""Where `wapo_verl.settings` writes the budget that the agent loops' workers and the trainer read."""

FAILURE, MESSAGE = "failure", "failure_message"
"""The keys of a failed row's tag and of its dumped line."""

SEARCH_BUDGET = 0.01
"""The budget of failed searches where the user sets none."""


class FailureKeys(BaseModel):
    """The group `wapo.failures`.

    Attributes:
        budget: the share of a step's episodes that may fail, rounded up to whole episodes; 0 ends the run at the first
            failure. Where it is not set, 0.01 of a step's episodes may fail in their searches and none in anything
            else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    budget: Annotated[float, Field(ge=0, le=0.5, allow_inf_nan=False)] | None = None


class FailureBudget(BaseModel):
    """What was decided for a run.

    Attributes:
        share: of a step's episodes that may fail.
        reasons: the reasons, of `wapo_verl.environments.failures.REASONS`, for which an episode is left out and counted
            against the share; any other error ends the run.
        undecided: whether an episode on which the environment's verifier came to no verdict is left out; it counts
            against the share where the verifier's errors do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    share: float = 0.0
    reasons: list[str] = []
    undecided: bool = False

    @classmethod
    def of(cls, config: DictConfig) -> Self:
        """Read what was decided for a run; nothing may fail where nothing was."""
        written = OmegaConf.select(config, RESOLVED)
        return cls() if written is None else cls.model_validate(OmegaConf.to_container(written))

    @property
    def leaves_out(self) -> bool:
        """Whether any failed episode is left out, so that the run goes on without it."""
        return bool(self.reasons) or self.undecided

    def counts(self, reason: str) -> bool:
        """Tell whether episodes that fail for this reason count against the share."""
        return (reason if reason in REASONS else VERIFIER) in self.reasons

    def allowed(self, episodes: int) -> int:
        """Return how many of so many episodes may fail: at least one wherever the share is above 0."""
        return math.ceil(self.share * episodes - 1e-9)


def reason_for(error: BaseException) -> str:
    """Return the reason that an error while an episode is played stands for."""
    known = {RetrievalError: RETRIEVER, PromptTooLong: CONTEXT}
    return next((reason for kind, reason in known.items() if isinstance(error, kind)), GENERATION)


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed episode's reason, and what went wrong in the words of the error."""

    reason: str
    message: str

    def mark(self, outputs: Sequence[Any]) -> None:
        """Mark an episode's rows as failed, in place: no token of theirs is trained on, and no number is their reward.

        Args:
            outputs: the agent loop's (`AgentLoopOutput`), of one session.
        """
        for output in outputs:
            output.response_mask = [0] * len(output.response_ids)
            output.reward_score = math.nan  # where somebody takes it for a reward after all, it shows
            output.extra_fields |= {FAILURE: self.reason, "reward_extra_info": self.tag}
            if record := output.extra_fields.get("episode"):
                output.extra_fields["episode"] = {**record, "failure": self.reason}

    def record(self) -> dict[str, Any]:
        """Return the record of an episode that was not played to its end."""
        return Episode(answer=None, turns=0, outcome=FAILED, failure=self.reason).to_record()

    @property
    def tag(self) -> dict[str, str]:
        """What tells a failed row from others."""
        return {FAILURE: self.reason, MESSAGE: self.message}
