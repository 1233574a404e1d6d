"""The sizes of the run with SmolLM2, as measured to work on two cores."""

from __future__ import annotations

from dataclasses import dataclass

from examples.quickstart.settings import RunSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class SmolLM2Settings(RunSettings):
    """The sizes of the rows and of the training run.

    Attributes:
        training_rows: questions of the training split.
        micro_batch_rows: completions of one pass of the actor.
    """

    training_rows: int = 2000
    max_prompt_tokens: int = 72
    max_response_tokens: int = 10
    prompts_per_step: int = 8
    group_size: int = 8
    micro_batch_rows: int = 8
    learning_rate: float = 2e-5
    warm_up_steps: int = 2
    steps: int = 30
    validate_every: int = 10
    validation_questions: int = 240
