"""The user's keys for `search_agent`: precedence, defaults, and one clear sentence for each mistake."""

import subprocess
import sys
from typing import Any

import pytest
from omegaconf import OmegaConf

from wapo_verl.rollout.settings import SearchAgentConfig


def make_config(group: Any = None, engine: str = "vllm", max_turns: int | None = None) -> Any:
    rollout = {"name": engine, "multi_turn": {"max_assistant_turns": max_turns}}
    config: dict[str, Any] = {"actor_rollout_ref": {"rollout": rollout}}
    return OmegaConf.create(config if group is None else {**config, "wapo": {"search_agent": group}})


def test_defaults() -> None:
    settings = SearchAgentConfig.from_config(make_config({"index": "world"}))
    assert settings == SearchAgentConfig("world", top_k=3, passage_tokens=512, max_turn_tokens=1024, max_turns=10)


def test_the_budget_is_announced_unless_it_is_turned_off() -> None:
    assert SearchAgentConfig.from_config(make_config({"index": "world"})).announce_budget
    assert not SearchAgentConfig.from_config(make_config({"index": "world", "announce_budget": False})).announce_budget


def test_the_command_line_wins_over_the_loops_entry() -> None:
    given = {"index": "there", "top_k": 5}
    settings = SearchAgentConfig.from_config(make_config({"index": "here"}, max_turns=4), given)
    assert (settings.index, settings.top_k, settings.max_turns) == ("here", 5, 4)
    assert SearchAgentConfig.from_config(make_config(), given).index == "there"


def test_each_split_can_have_an_index_of_its_own() -> None:
    settings = SearchAgentConfig.from_config(make_config({"index": {"train": "a", "test": "b"}}))
    assert settings.addresses == ["a", "b"]
    assert settings.address_for("test") == "b"
    with pytest.raises(
        ValueError, match=r"no index for rows of the split 'dev', only for train, test.*index\.dev=PATH"
    ):
        settings.address_for("dev")


def test_one_index_serves_every_split() -> None:
    settings = SearchAgentConfig.from_config(make_config({"index": "world"}))
    assert settings.addresses == [settings.address_for("train")] == [settings.address_for(None)] == ["world"]


def test_an_address_may_be_a_service_or_several() -> None:
    group = {"index": {"train": "http://a:1/", "test": ["http://a:1", "http://b:2"]}, "corpus_hash": {"train": "ab"}}
    settings = SearchAgentConfig.from_config(make_config(group))
    assert settings.addresses == ["http://a:1", "http://a:1,http://b:2"]
    assert settings.corpus_hash_for("http://a:1") == "ab"
    assert settings.corpus_hash_for("http://a:1,http://b:2") == ""
    assert settings.client_options(settings.addresses[0])["cached_queries"] == 4096


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (make_config(), r"index is not set.*\+wapo\.search_agent\.index=PATH.*retrieval_index build"),
        (make_config({"index": None}), "index is not set"),
        (make_config({"index": "x", "topk": 2}), r"no key 'topk'.*top_k"),
        (make_config({"index": "x", "max_turns": 2}), "multi_turn.max_assistant_turns"),
        (make_config({"index": "x", "top_k": 0}), "top_k must be a whole number of at least 1"),
        (make_config({"index": "x", "top_k": "3"}), "top_k must be a whole number"),
        (make_config({"index": "x", "announce_budget": "yes"}), "announce_budget"),
        (make_config({"index": "x", "timeout_s": 0}), "timeout_s"),
        (make_config({"index": "x", "deadline_s": "soon"}), "deadline_s must be a number of seconds"),
        (make_config({"index": "x", "cached_queries": -1}), "cached_queries must be a whole number of at least 0"),
        (make_config({"index": "ftp://host/x"}), r"search_agent\.index: an index is a folder, or http://host:port"),
        (make_config({"index": ["http://a:1", "folder"]}), "must all begin with http"),
        (make_config({"index": "x"}, max_turns=-1), "max_turns"),
        (make_config({"index": "x"}, engine="sglang"), "rollout.name=sglang is not supported"),
        (make_config("world"), r"\+wapo\.search_agent\.index=PATH"),
    ],
)
def test_each_mistake_is_named_with_its_mend(config: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SearchAgentConfig.from_config(config)


def test_verl_finds_the_loop_by_its_name() -> None:
    from verl.experimental.agent_loop.agent_loop import _agent_loop_registry

    assert _agent_loop_registry["search_agent"]["_target_"].endswith("SearchAgentLoop")


def test_reading_settings_imports_neither_torch_nor_verl() -> None:
    code = (
        "import sys; from wapo_verl.rollout import settings; "
        "sys.exit(bool({'torch', 'verl', 'ray', 'transformers'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
