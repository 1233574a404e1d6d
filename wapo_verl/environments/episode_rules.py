"""The rules of an episode: what follows from a turn of the policy, and when the episode ends.

A state machine without input or output: it is told what the policy wrote, what was found and how many tokens that took,
and says what comes next. Training's agent loops, the tools for environments and the study all play by it. Beside what
`wapo_verl.environments.protocol` reads in a turn, an episode ends as

- `turn_truncated`: the turn reached `max_turn_tokens` before its end;
- `context_full`: the turn reached the end of the response, or the results and one more token do not fit behind it; the
  results are then neither shown nor recorded;
- `turn_limit`: a search in the last turn allowed; it is not carried out.

A malformed tool call ends no episode before its last turn: the policy is shown an error and may go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from wapo_verl.environments.episode import ANSWERED, Episode
from wapo_verl.environments.protocol import PROTOCOLS, Answer, Invalid, Protocol, Search, is_well_formed

DEFAULT_MAX_TURNS = 10
DEFAULT_QUERIES_PER_CALL = 3


@dataclass(frozen=True, slots=True)
class EpisodeLimits:
    """What an episode may take.

    Attributes:
        max_turns: turns of the policy.
        queries_per_call: queries that one turn of the tool protocol may have.
        max_turn_tokens: tokens of one turn; None for no limit but the response's.
        announce_budget: whether the policy is told with each result what is left.
    """

    max_turns: int = DEFAULT_MAX_TURNS
    queries_per_call: int = DEFAULT_QUERIES_PER_CALL
    max_turn_tokens: int | None = None
    announce_budget: bool = True

    def promised_by(self, extra_info: Mapping[str, Any]) -> Self:
        """Return these limits with what a row promises its policy in their place.

        Args:
            extra_info: the row's. `max_turns` and `queries_per_call` replace these limits; without a true
                `announce_budget` in it nothing is announced, since the prompt does not speak of it.
        """
        numbers = {
            name: int(extra_info[name])
            for name in ("max_turns", "queries_per_call")
            if extra_info.get(name) is not None
        }
        announced = self.announce_budget and bool(extra_info.get("announce_budget"))
        return replace(self, **numbers, announce_budget=announced)


@dataclass(frozen=True, slots=True)
class ToolError:
    """A turn whose call is malformed: the policy is shown `message` in place of results, and may go on."""

    message: str


@dataclass(slots=True)
class EpisodeRules:
    """One episode: give it a turn, show what was found, until `turn` or `show` returns the finished `Episode`.

    Attributes:
        protocol: how turns are read and results written.
        limits: of the episode.
        opening: what the prompt has begun each turn with, "<think>" where the chat template does; a turn is read
            with it in front, unless it begins so itself.
        texts: what the policy wrote, a turn each.
        queries: those whose results the policy was shown.
        document_ids: of each of these queries, best first.
        tool_errors: turns that were answered with an error.
        repaired_calls: turns whose malformed call was repaired.
    """

    protocol: Protocol
    limits: EpisodeLimits
    opening: str = ""
    texts: list[str] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    document_ids: list[tuple[str, ...]] = field(default_factory=list)
    tool_errors: int = 0
    repaired_calls: int = 0

    @classmethod
    def of(cls, agent_name: str, limits: EpisodeLimits, opening: str = "") -> Self:
        """Return the rules for an episode of that agent loop, a key of `PROTOCOLS`."""
        return cls(PROTOCOLS[agent_name], limits, opening)

    @property
    def turns(self) -> int:
        """How many turns the policy has taken."""
        return len(self.texts)

    def turn_budget(self, room: int) -> int:
        """Return how many tokens the next turn may have where the response has `room` for so many."""
        return room if self.limits.max_turn_tokens is None else min(self.limits.max_turn_tokens, room)

    def turn(
        self, text: str, *, tokens: int = 0, room: int | None = None, ended: bool = True
    ) -> Search | ToolError | Episode:
        """Take a turn of the policy and return what follows: a search, an error to show, or the end.

        Args:
            text: what the policy wrote, decoded.
            tokens: how many tokens it has.
            room: how many tokens the response could take before it; None where tokens do not count.
            ended: whether its last token ends a turn. A turn that holds one of the protocol's stop strings has ended
                as well, and so has one that is shorter than its budget.
        """
        self.texts.append(text)
        budget = None if room is None else self.turn_budget(room)
        ended = ended or any(stop in text for stop in self.protocol.ends)
        if budget is not None and tokens >= budget and not ended:
            return self.end("turn_truncated" if budget == self.limits.max_turn_tokens else "context_full")
        step = self.protocol.read(self._whole(text), self.limits.queries_per_call)
        if isinstance(step, Answer):
            return self.end(ANSWERED, step.text)
        last = self.turns >= self.limits.max_turns
        if isinstance(step, Invalid):
            if last or not step.error:
                return self.end(step.outcome)
        elif last:
            return self.end("turn_limit")
        if room is not None and tokens >= room:
            return self.end("context_full")
        if isinstance(step, Invalid):
            self.tool_errors += 1
            return ToolError(step.error)
        self.repaired_calls += step.repaired
        return step

    def results(self, passages: Sequence[Sequence[str]], room: int | None = None) -> str:
        """Return the text that shows the policy what its search found.

        Args:
            passages: of each query, best first.
            room: as for `with_budget`.
        """
        return self.with_budget(self.protocol.results(passages), room)

    def with_budget(self, text: str, room: int | None = None) -> str:
        """Return what the policy is shown, with the turns and tokens that are left where that is announced.

        Args:
            text: results, or an error.
            room: how many tokens the response can take behind it; None where tokens do not count.
        """
        if not self.limits.announce_budget:
            return text
        left = self.limits.max_turns - self.turns
        turns = "This is your last turn: answer now." if left == 1 else f"You have {left} turns left."
        tokens = "" if room is None else f" Tokens left: {max(room, 0)}."
        return f"{text}\n\n{turns}{tokens}"

    def show(
        self, found: Iterable[tuple[str, Sequence[str]]], *, tokens: int = 0, room: int | None = None
    ) -> Episode | None:
        """Show the policy results or an error; return the episode where they do not fit.

        Args:
            found: each query with the ids of its documents, best first; none for an error.
            tokens: how many tokens the message has.
            room: how many tokens the response could take before it; None where tokens do not count.
        """
        if room is not None and tokens >= room:
            return self.end("context_full")
        for query, document_ids in found:
            self.queries.append(query)
            self.document_ids.append(tuple(document_ids))
        return None

    def end(self, outcome: str, answer: str | None = None) -> Episode:
        """Return the finished episode; raises ValueError as `Episode` does."""
        return Episode(
            answer=answer,
            queries=tuple(self.queries),
            document_ids=tuple(self.document_ids),
            turns=self.turns,
            outcome=outcome,
            completion="\n".join(self.texts),
            tool_errors=self.tool_errors,
            repaired_calls=self.repaired_calls,
            well_formed_turns=sum(
                is_well_formed(self._whole(text), self.protocol.action, last=number == self.turns)
                for number, text in enumerate(self.texts, start=1)
            ),
        )

    def _whole(self, text: str) -> str:
        """Return a turn with what the prompt has begun it with."""
        return text if self.opening and text.lstrip().startswith(self.opening) else self.opening + text
