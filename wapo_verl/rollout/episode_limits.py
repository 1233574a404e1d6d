"""The limits of one episode in a run: the run's settings, and before them what the row promises its policy."""

import logging
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from wapo_verl.environments.episode_rules import EpisodeLimits
from wapo_verl.rollout.settings import GROUP, SearchAgentConfig
from wapo_verl.say import is_first

logger = logging.getLogger(__name__)

_KEYS = {
    "max_turns": "actor_rollout_ref.rollout.multi_turn.max_assistant_turns",
    "queries_per_call": f"{GROUP}.queries_per_call",
}


def limits_for(settings: SearchAgentConfig, rollout: DictConfig, extra_info: Mapping[str, Any] | None) -> EpisodeLimits:
    """Return the limits of a row's episode; where the row and the run name other numbers, say so once.

    Args:
        settings: the run's, of `wapo.search_agent`.
        rollout: the run's `actor_rollout_ref.rollout`. `multi_turn.max_user_turns` counts here as one turn less.
        extra_info: the row's.
    """
    results = rollout.multi_turn.get("max_user_turns")
    run = EpisodeLimits(
        max_turns=settings.max_turns if results is None else min(settings.max_turns, results + 1),
        queries_per_call=settings.queries_per_call,
        max_turn_tokens=settings.max_turn_tokens,
        announce_budget=settings.announce_budget,
    )
    row = run.promised_by(extra_info or {})
    for name, key in _KEYS.items():
        is_open = name == "max_turns" and results is None and rollout.multi_turn.get("max_assistant_turns") is None
        if getattr(row, name) != getattr(run, name) and not is_open:
            _warn_once(
                name,
                f"rows of this run promise {name}={getattr(row, name)} in extra_info, and the run sets "
                f"{key}={getattr(run, name)}: the rows are obeyed. Prepare them again with --set "
                f"{name}={getattr(run, name)} to change it.",
            )
    return row


def say_full(tokens: int, room: int, response_length: int) -> None:
    """Say once why results did not fit into the response.

    Args:
        tokens: of the message with the results.
        room: tokens that the response could still take.
        response_length: the most tokens a response may have.
    """
    _warn_once(
        "context_full",
        f"an episode ended as context_full: its results have {tokens} tokens, and {room} of data.max_response_length="
        f"{response_length} were left. If that is frequent (metric episode/outcome/context_full), raise "
        f"data.max_response_length, or lower {GROUP}.top_k or {GROUP}.passage_tokens.",
    )


def _warn_once(subject: str, message: str) -> None:
    """Log a warning, the first of its subject in this process."""
    if is_first(subject):
        logger.warning(message)
