"""Plays an episode from text: what a policy wrote, turn by turn, becomes the record that training's loops would make.

The same pieces as in training: `wapo_verl.environments.protocol` reads a turn,
`wapo_verl.environments.episode.Recorder` notes it, `wapo_verl.reward` scores it;
`tests/wapo_verl/env_tools/test_play.py` holds the records to those of training's own loops. Searching is the caller's,
as those loops search without blocking. Left out: token ids, and with them the outcomes `turn_truncated` and
`context_full`, which no text can show.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from wapo_verl.environments.episode import ANSWERED, Episode, Recorder
from wapo_verl.environments.protocol import (
    STOP_STRINGS,
    Answer,
    Invalid,
    Search,
    ToolSearch,
    parse_tool_turn,
    parse_turn,
    render_information,
    render_search,
    render_tool_response,
    render_tool_search,
)
from wapo_verl.reward import compute_score
from wapo_verl.rollout.settings import DEFAULT_MAX_TURNS

Row = Mapping[str, Any]
SINGLE = "single_turn_agent"
QUERIES_PER_CALL = 3
"""Queries that one call of the search tool may have, as `wapo.search_agent.queries_per_call` is by default."""


class Limits(NamedTuple):
    """What an episode may take: turns of the policy, and queries in one call of the search tool."""

    max_turns: int = DEFAULT_MAX_TURNS
    queries_per_call: int = QUERIES_PER_CALL

    @classmethod
    def of(cls, row: Row) -> Self:
        """Those that the row promises its policy; training's own where it names none."""
        return cls(**{name: int(row["extra_info"][name]) for name in cls._fields if name in row["extra_info"]})


@dataclass(frozen=True, slots=True)
class Protocol:
    """How turns of an agent loop are read and written.

    Attributes:
        ends: strings at which the engine ends a turn.
        read: a turn's text and the most queries it may have -> its queries, its answer or what is wrong with it.
        write: queries -> a turn that searches for them.
        shown: the passages of each query -> what the policy is shown.
        parallel: whether one turn may have several queries.
    """

    ends: tuple[str, ...]
    read: Callable[[str, int], tuple[str, ...] | Answer | Invalid]
    write: Callable[[Sequence[str]], str]
    shown: Callable[[Sequence[Sequence[str]]], str]
    parallel: bool = False


def _read_text(text: str, _: int) -> tuple[str, ...] | Answer | Invalid:
    turn = parse_turn(text)
    return (turn.query,) if isinstance(turn, Search) else turn


def _read_tool(text: str, queries_per_call: int) -> tuple[str, ...] | Answer | Invalid:
    turn = parse_tool_turn(text, queries_per_call)
    return turn.queries if isinstance(turn, ToolSearch) else turn


PROTOCOLS: Mapping[str, Protocol] = {
    "search_agent": Protocol(
        STOP_STRINGS, _read_text, lambda queries: render_search(queries[0]), lambda found: render_information(found[0])
    ),
    "search_tool_agent": Protocol((), _read_tool, render_tool_search, render_tool_response, parallel=True),
}
"""The agent loops with several turns, by their name in a row."""

PLAYED = (*PROTOCOLS, SINGLE)
"""The agent loops whose episodes can be played here."""


class Play:
    """One episode of several turns: give it a turn's text, search for what it asks, until an episode comes back.

    Attributes:
        protocol: of the row's agent loop.
        limits: of the episode; a search in the last turn is not carried out.
        record: what has been noted so far.
    """

    def __init__(self, agent_name: str, limits: Limits) -> None:
        self.protocol = PROTOCOLS[agent_name]
        self.limits = limits
        self.record = Recorder()

    def turn(self, text: str) -> tuple[str, ...] | Episode:
        """Take one turn of the policy: the queries to answer with `found` before the next turn, or the episode."""
        written = until(text, self.protocol.ends)
        self.record.wrote(written)
        match self.protocol.read(written, self.limits.queries_per_call):
            case Answer(answer):
                return self.record.end(ANSWERED, answer)
            case Invalid(outcome):
                return self.record.end(outcome)
            case queries:
                return self.record.end("turn_limit") if self.record.turns >= self.limits.max_turns else queries

    def found(self, query: str, document_ids: Sequence[str]) -> None:
        """Note what a query found, once the policy has been shown it."""
        self.record.searched(query, document_ids)


def until(text: str, ends: Sequence[str]) -> str:
    """What the engine would return of a turn: up to the first of the strings that end it, itself included."""
    places = [place + len(end) for end in ends if (place := text.find(end)) >= 0]
    return text[: min(places)] if places else text


def play_script(agent_name: str, turns: Sequence[str], limits: Limits, found: Sequence[str] = ()) -> Episode:
    """The episode of a policy that writes these turns and then nothing, where every query finds the same documents.

    Args:
        found: ids of those documents, best first.
    """
    play = Play(agent_name, limits)
    for text in (*turns, ""):
        outcome = play.turn(text)
        if isinstance(outcome, Episode):
            return outcome
        for query in outcome:
            play.found(query, found)
    raise AssertionError("an empty turn ends every episode")


def score(row: Row, solution: str, episode: Episode | None) -> dict[str, float]:
    """Reward and parts of a finished episode, by the very function that veRL calls.

    Args:
        solution: the policy's text, which single-turn environments read.
        episode: the record; None where the row is played in a single turn by veRL's own loop, which makes none.
    """
    extra = dict(row["extra_info"])
    if episode is not None:
        extra["episode"] = episode.to_record()
    return compute_score(row["data_source"], solution, row["reward_model"]["ground_truth"], extra)
