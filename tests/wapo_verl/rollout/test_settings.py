"""What the agent loops read of their settings. (The user's keys and their mistakes: `settings/test_keys.py`.)"""

import subprocess
import sys
from typing import Any

import pytest
from omegaconf import OmegaConf

from wapo_verl.rollout.settings import RESOLVED, SearchAgentConfig


def decided(**settings: Any) -> SearchAgentConfig:
    """The settings as a loop reads them."""
    config = OmegaConf.create({})
    OmegaConf.update(config, RESOLVED, SearchAgentConfig(**settings).model_dump(), force_add=True)
    return SearchAgentConfig.from_config(config)


def test_what_was_decided_is_what_a_loop_reads() -> None:
    made = SearchAgentConfig(index="world", top_k=5, retries=2, max_turns=4)
    assert decided(index="world", top_k=5, retries=2, max_turns=4) == made


def test_without_a_decision_the_key_that_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match=r"index is not set.*\+wapo\.search_agent\.index=PATH.*retrieval_index build"):
        SearchAgentConfig.from_config(OmegaConf.create({"wapo": {"search_agent": {"index": "world"}}}))


def test_each_split_can_have_an_index_of_its_own() -> None:
    settings = decided(index={"train": "a", "test": "b"})
    assert settings.addresses == ["a", "b"]
    assert settings.address_for("test") == "b"
    with pytest.raises(
        ValueError, match=r"no index for rows of the split 'dev', only for train, test.*index\.dev=PATH"
    ):
        settings.address_for("dev")


def test_one_index_serves_every_split() -> None:
    settings = decided(index="world")
    assert settings.addresses == [settings.address_for("train")] == [settings.address_for(None)] == ["world"]


def test_an_address_may_be_a_service_or_several() -> None:
    group = {"index": {"train": "http://a:1/", "test": ["http://a:1", "http://b:2"]}, "corpus_hash": {"train": "ab"}}
    settings = decided(**group)
    assert settings.addresses == ["http://a:1", "http://a:1,http://b:2"]
    assert settings.corpus_hash_for("http://a:1") == "ab"
    assert settings.corpus_hash_for("http://a:1,http://b:2") == ""
    assert settings.client_options(settings.addresses[0])["cached_queries"] == 4096


def test_verl_finds_the_loop_by_its_name() -> None:
    from verl.experimental.agent_loop.agent_loop import _agent_loop_registry

    assert _agent_loop_registry["search_agent"]["_target_"].endswith("SearchAgentLoop")


def test_reading_settings_imports_neither_torch_nor_verl() -> None:
    code = (
        "import sys; from wapo_verl.rollout import settings; "
        "sys.exit(bool({'torch', 'verl', 'ray', 'transformers'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
