"""A row's limits and the announced budget in both agent loops, and what is said once. No GPU, no vLLM, no Ray."""

import logging
import re
from dataclasses import dataclass
from typing import Any

import pytest
from support.scripted_engine import CHATML, TOOL_CHATML, ScriptedEngine, assert_consistent, make_config
from support.scripted_engine import play as play_loop
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput

from retrieval_index import Document, build_index
from wapo_verl import say
from wapo_verl.environments.episode import Episode
from wapo_verl.environments.protocol import PROTOCOLS, render_answer
from wapo_verl.rollout.search_agent import SearchAgentLoop
from wapo_verl.rollout.search_tool_agent import SearchToolAgentLoop

END = "<|im_end|>"
TURN_LIMIT = "actor_rollout_ref__rollout__multi_turn__max_assistant_turns"
RESPONSE = "actor_rollout_ref__rollout__response_length"
LAST = render_answer("Torrin") + END


@dataclass(frozen=True)
class Loop:
    """One of the two, as these tests need it."""

    name: str
    kind: type
    template: str

    def __str__(self) -> str:
        return self.name

    def search(self, *queries: str) -> str:
        return PROTOCOLS[self.name].write(queries) + END


LOOPS = (
    Loop("search_agent", SearchAgentLoop, CHATML),
    Loop("search_tool_agent", SearchToolAgentLoop, TOOL_CHATML),
)
both_loops = pytest.mark.parametrize("loop", LOOPS, ids=str)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("retrieval") / "index"
    build_index([Document("d1", "Nimbus", "Nimbus is a novel by Ada Vale.")], path)
    return str(path)


@pytest.fixture(autouse=True)
def _nothing_said_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(say, "_subjects", set())


def play(
    loop: Loop, index: str, turns: list[str], extra_info: dict[str, Any] | None = None, **overrides: Any
) -> tuple[AgentLoopOutput, ScriptedEngine, Episode]:
    config = make_config(index, **{"actor_rollout_ref__rollout__prompt_length": 1024, **overrides})
    messages = [{"role": "user", "content": "Who wrote Nimbus?"}]
    output, engine = play_loop(loop.kind, config, turns, messages, template=loop.template, extra_info=extra_info)
    assert_consistent(output, engine, config.actor_rollout_ref.rollout.response_length)
    return output, engine, Episode.from_record(output.extra_fields["episode"])


@both_loops
@pytest.mark.parametrize(("run", "promised"), [(2, 4), (4, 2), (None, 3), (12, 11)])
def test_training_obeys_the_row_and_says_so_once(
    loop: Loop, index: str, run: int | None, promised: int, caplog: pytest.LogCaptureFixture
) -> None:
    turns = [loop.search("Nimbus")] * promised
    for _ in range(2):
        episode = play(loop, index, turns, {"max_turns": promised}, **{TURN_LIMIT: run})[2]
        assert (episode.outcome, episode.turns) == ("turn_limit", promised)
    said = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    if run is None:
        assert said == [], "a run that names no number contradicts nobody"
    else:
        (message,) = said
        assert f"promise max_turns={promised} in extra_info, and the run sets" in message
        assert f"max_assistant_turns={run}" in message
        assert f"--set max_turns={run}" in message


@both_loops
def test_a_row_without_a_promise_has_the_runs_turns(loop: Loop, index: str, caplog: pytest.LogCaptureFixture) -> None:
    for extra_info in (None, {}, {"max_turns": None}, {"split": "train"}):
        episode = play(loop, index, [loop.search("Nimbus")] * 2, extra_info, **{TURN_LIMIT: 2})[2]
        assert (episode.outcome, episode.turns) == ("turn_limit", 2)
    assert not caplog.records


def test_a_rows_queries_per_call_are_obeyed(index: str) -> None:
    tools = LOOPS[1]
    turns = [tools.search("a", "b"), LAST]
    assert play(tools, index, turns, {"queries_per_call": 1})[2].tool_errors == 1
    assert play(tools, index, turns, {"queries_per_call": 2})[2].tool_errors == 0
    assert play(tools, index, turns, {"queries_per_call": 2}, wapo__search_agent__queries_per_call=1)[2].queries


@both_loops
def test_the_budget_is_announced_and_true_where_the_row_promises_it(loop: Loop, index: str) -> None:
    turns = [loop.search("Nimbus"), loop.search("Vale"), LAST]
    row = {"announce_budget": True, "max_turns": 3}
    output, engine, episode = play(loop, index, turns, row)
    assert episode.answered
    text = engine.tokenizer.decode(output.response_ids)
    assert "You have 2 turns left. Tokens left: " in text
    assert "This is your last turn: answer now. Tokens left: " in text
    left = [int(number) for number in re.findall(r"Tokens left: (\d+)", text)]
    assert [request["sampling_params"]["max_tokens"] for request in engine.requests[1:]] == [1024, 1024]
    actual = [4096 + len(output.prompt_ids) - len(request["prompt_ids"]) for request in engine.requests[1:]]
    assert left == actual


@both_loops
def test_an_announced_number_of_tokens_is_never_more_than_is_left(loop: Loop, index: str) -> None:
    """Around a change in the number of digits, whatever the message takes."""
    for response in range(300, 420, 7):
        turns = [loop.search("Nimbus"), LAST]
        output, engine, episode = play(loop, index, turns, {"announce_budget": True}, **{RESPONSE: response})
        if len(engine.requests) == 2:
            text = engine.tokenizer.decode(engine.requests[1]["prompt_ids"])
            left = int(re.findall(r"Tokens left: (\d+)", text)[0])
            actual = response + len(output.prompt_ids) - len(engine.requests[1]["prompt_ids"])
            assert actual - 1 <= left <= actual
        else:
            assert episode.outcome == "context_full"


@both_loops
def test_nothing_is_announced_that_the_prompt_does_not_speak_of(loop: Loop, index: str) -> None:
    for extra_info in (None, {"max_turns": 3}, {"announce_budget": False}):
        output, engine, _ = play(loop, index, [loop.search("Nimbus"), LAST], extra_info)
        assert "left" not in engine.tokenizer.decode(output.response_ids)


def test_an_error_tells_what_is_left_too(index: str) -> None:
    turns = ["<tool_call>no call</tool_call>" + END, LAST]
    output, engine, episode = play(LOOPS[1], index, turns, {"announce_budget": True, "max_turns": 2})
    assert episode.tool_errors == 1
    assert "This is your last turn: answer now. Tokens left: " in engine.tokenizer.decode(output.response_ids)


@both_loops
def test_results_that_do_not_fit_are_named_once(loop: Loop, index: str, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        turns = [loop.search("Nimbus"), LAST]
        assert play(loop, index, turns, **{RESPONSE: 90})[2].outcome == "context_full"
    (record,) = caplog.records
    assert re.search(r"its results have \d+ tokens, and \d+ of data\.max_response_length=90 were left", record.message)
    assert "lower wapo.search_agent.top_k or wapo.search_agent.passage_tokens" in record.message
