"""The token ids of one episode after its prompt, with the mask and the log-probs that belong to them.

The only place where the three lists grow, so that they cannot come apart; and how long they may become. No text here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Trajectory:
    """Prompt and response of an episode; the response's three lists always have one length.

    Attributes:
        prompt: ids of the prompt.
        limit: the most tokens the response may have.
        ids: the response, the policy's turns and the environment's tokens in order.
        mask: 1 for a token the policy wrote, 0 for one the environment wrote.
        log_probs: the rollout's log-prob of each of the policy's tokens, 0.0 for the environment's; all 0.0 as long as
            the engine reports none.
        has_log_probs: whether the engine reported log-probs; None before the first turn.
    """

    prompt: list[int]
    limit: int
    ids: list[int] = field(default_factory=list)
    mask: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    has_log_probs: bool | None = None

    @property
    def room(self) -> int:
        """How many tokens the response can still take."""
        return self.limit - len(self.ids)

    def add_turn(self, ids: Sequence[int], log_probs: Sequence[float] | None) -> None:
        """Append what the engine returned, as it returned it.

        Raises:
            ValueError: when there is no token, or not one log-prob per token, or log-probs came for some turns only.
        """
        if not ids:
            raise ValueError("the rollout engine returned a turn without a single token: the request was aborted")
        if log_probs and len(log_probs) != len(ids):
            raise ValueError(f"the rollout engine returned {len(ids)} tokens with {len(log_probs)} log-probs")
        if self.has_log_probs is not None and self.has_log_probs != bool(log_probs):
            raise ValueError("the rollout engine returned log-probs for some turns of an episode and not for others")
        self.has_log_probs = bool(log_probs)
        self._append(ids, 1, log_probs or [0.0] * len(ids))

    def add_environment(self, ids: Sequence[int]) -> None:
        """Append tokens that the policy did not write."""
        self._append(ids, 0, [0.0] * len(ids))

    def _append(self, ids: Sequence[int], mask: int, log_probs: Sequence[float]) -> None:
        if len(ids) > self.room:
            raise ValueError(f"{len(ids)} tokens do not fit into the {self.room} left of {self.limit}")
        self.ids.extend(ids)
        self.mask.extend([mask] * len(ids))
        self.log_probs.extend(log_probs)


class PromptTooLong(ValueError):
    """A prompt leaves no room for a response, or is longer than the run allows."""


def room_for_response(prompt_tokens: int, rollout: Any) -> int:
    """Return how many tokens an episode's response may have after a prompt of that many.

    Args:
        prompt_tokens: of the prompt.
        rollout: the run's `actor_rollout_ref.rollout`.

    Raises:
        ValueError: for a prompt longer than `prompt_length`, or one that fills `max_model_len`.
    """
    allowed, response_length = rollout.prompt_length, rollout.response_length
    if prompt_tokens > allowed:
        raise PromptTooLong(
            f"a prompt has {prompt_tokens} tokens, data.max_prompt_length is {allowed}: raise it, "
            "or set data.filter_overlong_prompts=True to leave such rows out"
        )
    context = rollout.get("max_model_len") or allowed + response_length
    if context <= prompt_tokens:
        raise PromptTooLong(
            f"a prompt of {prompt_tokens} tokens leaves no room in "
            f"actor_rollout_ref.rollout.max_model_len={context}: raise it, or leave it out"
        )
    return int(min(response_length, context - prompt_tokens))
