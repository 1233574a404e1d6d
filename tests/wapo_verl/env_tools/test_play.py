"""Episodes played from text are those that training's loops would record: no GPU, no vLLM, no Ray.

veRL's loops run here against a scripted engine, over the same index as the episodes from text.
"""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.scripted_engine import CHATML, TOOL_CHATML, make_config
from support.scripted_engine import play as play_loop

from retrieval_index import Document, build_index
from retrieval_index.client import connect
from wapo_verl.env_tools.play import play_script, rules_for, score, until
from wapo_verl.environments.episode import OUTCOMES, Episode
from wapo_verl.environments.episode_rules import DEFAULT_QUERIES_PER_CALL, EpisodeLimits, EpisodeRules, ToolError
from wapo_verl.environments.protocol import PROTOCOLS, render_answer, render_search, render_tool_search
from wapo_verl.rollout.search_agent import SearchAgentLoop
from wapo_verl.rollout.search_tool_agent import SearchToolAgentLoop

LOOPS = {"search_agent": (SearchAgentLoop, CHATML), "search_tool_agent": (SearchToolAgentLoop, TOOL_CHATML)}
MESSAGES = [{"role": "user", "content": "Who wrote Nimbus?"}]
DOCUMENTS = [Document("d1", "Nimbus", "A novel by Ada Vale."), Document("d2", "Ada Vale", "Born in Torrin.")]
END = "<|im_end|>"
TURNS = st.sampled_from(
    [
        render_search("Nimbus"),
        "<think>I wonder.</think>" + render_search("Torrin"),
        render_tool_search(["Nimbus"]),
        render_tool_search(["Nimbus", "Vale"]),
        render_tool_search(["a", "b", "c", "d"]),
        "<tool_call>no json</tool_call>",
        render_tool_search(["Nimbus"]).replace("query_list", "query"),
        render_tool_search(["Nimbus"]) * 2,
        "<tool_call><function=search><parameter=query_list>Vale</parameter></function></tool_call>",
        "<think>I know.</think>" + render_answer("Ada Vale"),
        "<answer>one</answer><answer>two</answer>",
        "<answer><search>x</search></answer>",
        "<think><answer>Ada</answer></think>",
        "<search> </search>",
        "<answer></answer>",
        "＜answer＞Ada＜/answer＞",
        "nothing at all",
    ]
)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("play") / "index"
    build_index(DOCUMENTS, path)
    return str(path)


def from_text(agent: str, turns: list[str], index: str, max_turns: int) -> Episode:
    rules = EpisodeRules.of(agent, EpisodeLimits(max_turns))
    for text in turns:
        step = rules.turn(until(text, rules.protocol.ends))
        if isinstance(step, Episode):
            return step
        if isinstance(step, ToolError):
            continue
        for query, hits in zip(step.queries, asyncio.run(connect(index).search(step.queries, 1)), strict=True):
            rules.show([(query, [hit.document.id for hit in hits])])
    raise AssertionError("the script ended before the episode")


@pytest.mark.parametrize("agent", sorted(LOOPS))
@settings(max_examples=25)
@given(written=st.lists(TURNS, max_size=4), max_turns=st.integers(1, 4))
def test_the_record_is_the_loops(agent: str, written: list[str], max_turns: int, index: str) -> None:
    turns = [text + END for text in [*written, "that is all"]]
    loop, template = LOOPS[agent]
    limits = {
        "actor_rollout_ref__rollout__prompt_length": 2048,
        "actor_rollout_ref__rollout__multi_turn__max_assistant_turns": max_turns,
    }
    output, _ = play_loop(loop, make_config(index, **limits), turns, MESSAGES, template=template)
    assert from_text(agent, turns, index, max_turns) == Episode.from_record(output.extra_fields["episode"])


def test_the_limit_of_queries_is_the_loops() -> None:
    from wapo_verl.rollout.settings import SearchAgentConfig

    assert SearchAgentConfig(index="x").queries_per_call == DEFAULT_QUERIES_PER_CALL


def test_a_turn_ends_where_the_engine_would_end_it() -> None:
    assert until("<answer>a</answer> <search>", ("</search>", "</answer>")) == "<answer>a</answer>"
    assert until("no end", ("</search>",)) == "no end"


@given(st.lists(st.text(max_size=30) | TURNS, max_size=12), st.integers(1, 10), st.sampled_from(sorted(PROTOCOLS)))
def test_every_script_ends_in_an_episode(turns: list[str], max_turns: int, agent: str) -> None:
    episode = play_script(EpisodeRules.of(agent, EpisodeLimits(max_turns)), turns, ("d1",))
    assert episode.outcome in OUTCOMES
    assert 1 <= episode.turns <= min(max_turns, len(turns) + 1)
    assert all(ids == ("d1",) for ids in episode.document_ids)


def test_a_score_is_verls() -> None:
    row = {
        "data_source": "ottqa",
        "reward_model": {"ground_truth": {"answers": ["Ada Vale"], "document_ids": ["d1"], "table_id": "d1"}},
        "extra_info": {"split": "dev"},
    }
    assert score(row, "", Episode("ada vale"))["score"] == 1.0


def test_a_rows_limits_are_obeyed() -> None:
    row = {"agent_name": "search_tool_agent", "extra_info": {"max_turns": 2, "queries_per_call": 1}}
    assert rules_for(row).limits == EpisodeLimits(2, 1, None, announce_budget=False)
    assert rules_for({**row, "extra_info": {}}).limits == EpisodeLimits(announce_budget=False)
