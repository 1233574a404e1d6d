"""The rules of an episode as a state machine, whatever a policy writes. No veRL, no tokenizer, no retriever."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wapo_verl.environments.episode import ANSWERED, OUTCOMES, TRUNCATED_OUTCOMES, Episode
from wapo_verl.environments.episode_rules import EpisodeLimits, EpisodeRules, ToolError
from wapo_verl.environments.protocol import PROTOCOLS, Search, render_answer, render_search, render_tool_search

AGENTS = sorted(PROTOCOLS)
CALL = render_tool_search(["a"])
BAD_CALL = "<tool_call>no call</tool_call>"
TEXTS = st.sampled_from(
    [
        render_search("a"),
        CALL,
        CALL * 2,
        CALL.replace("query_list", "query"),
        render_tool_search(["a", "b", "c", "d"]),
        BAD_CALL,
        CALL.removesuffix("</tool_call>"),
        "<think>I know.</think>" + render_answer("b"),
        "<answer>one</answer><answer>two</answer>",
        "<search></search>",
        "nothing",
    ]
)


def rules_of(agent: str = "search_tool_agent", **limits: int | None) -> EpisodeRules:
    return EpisodeRules.of(agent, EpisodeLimits(**{"announce_budget": False, **limits}))


@st.composite
def scripts(draw: st.DrawFn) -> list[tuple[str, int, bool, int]]:
    """Turns: text, share of its budget that it takes, whether its last token ends it, tokens of what is shown then."""
    turn = st.tuples(TEXTS | st.text(max_size=20), st.integers(1, 60), st.booleans(), st.integers(1, 200))
    return draw(st.lists(turn, min_size=12, max_size=12))


@given(scripts(), st.sampled_from(AGENTS), st.integers(1, 10), st.integers(1, 50) | st.none(), st.integers(1, 400))
def test_every_episode_ends_within_its_limits_and_its_record_holds_what_was_shown(
    script: list[tuple[str, int, bool, int]], agent: str, max_turns: int, max_turn_tokens: int | None, response: int
) -> None:
    rules = rules_of(agent, max_turns=max_turns, queries_per_call=3, max_turn_tokens=max_turn_tokens)
    used, errors, shown, episode = 0, 0, [], None
    numbers = count()
    for text, wanted, ended, result in script:
        assert used < response, "an episode goes on only where a turn has room for a token"
        room = response - used
        budget = rules.turn_budget(room)
        assert 1 <= budget <= room
        tokens = min(wanted, budget)
        used += tokens
        step = rules.turn(text, tokens=tokens, room=room, ended=ended)
        if isinstance(step, Episode):
            episode = step
            break
        assert isinstance(step, Search | ToolError)
        found = []
        if isinstance(step, Search):
            assert 1 <= len(step.queries) <= 3
            found = [(query, (f"d{next(numbers)}",)) for query in step.queries]
        errors += isinstance(step, ToolError)
        episode = rules.show(found, tokens=result, room=response - used)
        if episode is not None:
            assert episode.outcome == "context_full"
            assert result >= response - used
            break
        used += result
        shown += found
    assert episode is not None, "twelve turns are more than any limit"
    assert episode.outcome in OUTCOMES
    assert 1 <= episode.turns <= max_turns
    assert list(zip(episode.queries, episode.document_ids, strict=True)) == shown
    assert episode.tool_errors == errors
    assert episode.completion == "\n".join(text for text, *_ in script[: episode.turns])
    assert (episode.answer is not None) == episode.answered == (episode.outcome == ANSWERED)
    if episode.outcome == "turn_limit":
        assert episode.turns == max_turns


@given(TEXTS, st.sampled_from(AGENTS), st.integers(1, 300), st.integers(1, 300))
def test_a_turn_cut_by_a_limit_names_the_limit_and_is_never_read(
    text: str, agent: str, max_turn_tokens: int, room: int
) -> None:
    rules = rules_of(agent, max_turn_tokens=max_turn_tokens)
    step = rules.turn(text, tokens=rules.turn_budget(room), room=room, ended=False)
    if any(stop in text for stop in rules.protocol.ends):
        return
    assert isinstance(step, Episode)
    assert step.outcome == ("turn_truncated" if max_turn_tokens <= room else "context_full")
    assert step.outcome in TRUNCATED_OUTCOMES


@given(TEXTS, st.sampled_from(AGENTS))
def test_without_token_counts_no_text_is_truncated(text: str, agent: str) -> None:
    step = rules_of(agent).turn(text)
    assert not isinstance(step, Episode) or step.outcome not in TRUNCATED_OUTCOMES


def test_a_turn_that_is_as_long_as_its_budget_counts_where_it_has_ended() -> None:
    assert isinstance(rules_of("search_agent").turn(render_answer("b"), tokens=9, room=9, ended=False), Episode)
    step = rules_of().turn(render_answer("b"), tokens=9, room=9, ended=True)
    assert isinstance(step, Episode)
    assert step.answer == "b"


def test_a_search_in_the_last_turn_is_not_made() -> None:
    rules = rules_of(max_turns=2)
    assert rules.turn(CALL) == Search(("a",))
    assert rules.show([("a", ["d1"])]) is None
    step = rules.turn(CALL)
    assert isinstance(step, Episode)
    assert (step.outcome, step.queries, step.turns) == ("turn_limit", ("a",), 2)


def test_results_that_leave_no_room_for_an_answer_are_not_recorded() -> None:
    rules = rules_of()
    rules.turn(CALL, tokens=5, room=20)
    assert rules.show([("a", ["d1"])], tokens=14, room=15) is None
    rules.turn(CALL, tokens=1, room=1)
    rules = rules_of()
    rules.turn(CALL, tokens=5, room=20)
    ended = rules.show([("a", ["d1"])], tokens=15, room=15)
    assert ended is not None
    assert (ended.outcome, ended.queries) == ("context_full", ())


@pytest.mark.parametrize("text", [BAD_CALL, "<tool_call></tool_call>", "<tool_call><answer>b</answer></tool_call>"])
def test_a_malformed_call_costs_a_turn_and_ends_the_episode_in_the_last_one(text: str) -> None:
    rules = rules_of(max_turns=2)
    assert isinstance(rules.turn(text), ToolError)
    assert rules.show([]) is None
    answered = rules.turn(render_answer("b"))
    assert isinstance(answered, Episode)
    assert (answered.answer, answered.turns, answered.tool_errors) == ("b", 2, 1)
    ended = rules_of(max_turns=1).turn(text)
    assert isinstance(ended, Episode)
    assert ended.outcome in ("bad_call", "empty_query", "nested_tags")
    assert ended.tool_errors == 0, "nobody was told of it"


def test_a_repaired_call_is_counted() -> None:
    rules = rules_of()
    assert rules.turn(CALL.replace("query_list", "query")) == Search(("a",), repaired=True)
    rules.turn(CALL)
    episode = rules.turn(render_answer("b"))
    assert isinstance(episode, Episode)
    assert (episode.repaired_calls, episode.tool_errors) == (1, 0)


def test_the_rows_promise_comes_before_the_runs_limits() -> None:
    run = EpisodeLimits(max_turns=4, queries_per_call=2, max_turn_tokens=100)
    assert run.promised_by({}) == EpisodeLimits(4, 2, 100, announce_budget=False)
    assert run.promised_by({"max_turns": 10, "queries_per_call": None}) == EpisodeLimits(10, 2, 100, False)
    assert run.promised_by({"announce_budget": True}).announce_budget
    assert not EpisodeLimits(announce_budget=False).promised_by({"announce_budget": True}).announce_budget


def test_what_is_left_is_announced_where_it_is_promised() -> None:
    rules = EpisodeRules.of("search_agent", EpisodeLimits(max_turns=3, announce_budget=True))
    rules.turn(render_search("a"))
    assert rules.results([["P"]], 120) == "<information>P</information>\n\nYou have 2 turns left. Tokens left: 120."
    rules.turn(render_search("a"))
    assert rules.with_budget("E", 5) == "E\n\nThis is your last turn: answer now. Tokens left: 5."
    assert rules.with_budget("E") == "E\n\nThis is your last turn: answer now."
    assert rules_of().with_budget("E", 5) == "E"


def test_what_is_noted_is_what_the_record_holds() -> None:
    rules = rules_of("search_agent")
    rules.turn("<search>a</search>")
    rules.show([("a", ["d1", "d2"])])
    assert rules.turns == 1
    assert rules.turn("<answer>b</answer>") == Episode(
        answer="b",
        queries=("a",),
        document_ids=(("d1", "d2"),),
        turns=2,
        completion="<search>a</search>\n<answer>b</answer>",
    )
    with pytest.raises(ValueError, match="'no_tag' has no answer"):
        rules.end("no_tag", "b")
