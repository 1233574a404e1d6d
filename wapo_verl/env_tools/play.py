"""Plays an episode from text: what a policy wrote, turn by turn, becomes the record that training's loops would make.

The same pieces as in training: `wapo_verl.environments.episode_rules` says what follows from a turn and
`wapo_verl.reward` scores the record; `tests/wapo_verl/env_tools/test_play.py` compares the records with those of
training's own loops. There are no token ids here, and so no outcome `turn_truncated` or `context_full`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wapo_verl.environments.episode import Episode
from wapo_verl.environments.episode_rules import EpisodeLimits, EpisodeRules, ToolError
from wapo_verl.environments.protocol import PROTOCOLS
from wapo_verl.reward import compute_score

Row = Mapping[str, Any]
SINGLE = "single_turn_agent"
PLAYED = (*PROTOCOLS, SINGLE)
"""The agent loops whose episodes can be played here."""


def rules_for(row: Row) -> EpisodeRules:
    """Return the rules for a row's episode of several turns, with the limits that the row promises."""
    return EpisodeRules.of(row["agent_name"], EpisodeLimits().promised_by(row["extra_info"]))


def until(text: str, ends: Sequence[str]) -> str:
    """Return what the engine would return of a turn: up to the first of the strings that end it, itself included."""
    places = [place + len(end) for end in ends if (place := text.find(end)) >= 0]
    return text[: min(places)] if places else text


def play_script(rules: EpisodeRules, turns: Sequence[str], document_ids: Sequence[str] = ()) -> Episode:
    """Return the episode of a policy that writes these turns and then nothing.

    Args:
        rules: of the episode, before its first turn.
        turns: what the policy writes.
        document_ids: of the documents that every query finds, best first.
    """
    for text in (*turns, ""):
        step = rules.turn(until(text, rules.protocol.ends))
        if isinstance(step, Episode):
            return step
        if not isinstance(step, ToolError):
            rules.show((query, document_ids) for query in step.queries)
    raise AssertionError("an empty turn ends every episode")


def score(row: Row, solution: str, episode: Episode | None) -> dict[str, float]:
    """Return reward and parts of a finished episode, by the very function that veRL calls.

    Args:
        row: the episode's.
        solution: the policy's text, which single-turn environments read.
        episode: the record; None where the row is played in a single turn by veRL's own loop, which makes none.
    """
    extra = dict(row["extra_info"])
    if episode is not None:
        extra["episode"] = episode.to_record()
    return compute_score(row["data_source"], solution, row["reward_model"]["ground_truth"], extra)
