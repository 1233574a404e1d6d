"""Overlong prompts are counted as the row's agent loop builds them. veRL's data set and loops; no GPU, no Ray."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf
from support.chat_families import FAMILIES, Family, tokenizer_of
from support.scripted_engine import make_config, play
from verl.utils.dataset.rl_dataset import get_dataset_class

from retrieval_index import Document, build_index
from wapo_verl.rollout import EPISODE_ROWS, TOOL_CONFIG
from wapo_verl.rollout.rows import EpisodeRows
from wapo_verl.rollout.search_agent import SearchAgentLoop
from wapo_verl.rollout.search_tool_agent import SearchToolAgentLoop

LOOPS = {"search_agent": SearchAgentLoop, "search_tool_agent": SearchToolAgentLoop}
MESSAGES = [{"role": "user", "content": "Who wrote Nimbus?"}]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("retrieval") / "index"
    build_index([Document("d1", "Nimbus", "A novel.")], path)
    return str(path)


def rows_of(folder: Path, agents: list[str], family: Family, limit: int, **data: Any) -> EpisodeRows:
    rows = [{"prompt": MESSAGES, "agent_name": name, "extra_info": {"index": i}} for i, name in enumerate(agents)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "train.parquet")
    custom = {key.removeprefix("data.custom_cls."): value for key, value in EPISODE_ROWS.items()}
    config = OmegaConf.create(
        {
            "custom_cls": custom,
            "cache_dir": str(folder),
            "max_prompt_length": limit,
            "filter_overlong_prompts": True,
            "filter_overlong_prompts_workers": None,
            **data,
        }
    )
    dataset = get_dataset_class(config)([str(folder / "train.parquet")], tokenizer_of(family), config)
    assert type(dataset).__name__ == "EpisodeRows"
    return dataset


@pytest.mark.parametrize("agent", LOOPS)
@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_a_prompt_is_counted_as_its_loop_builds_it(tmp_path: Path, index: str, family: Family, agent: str) -> None:
    tokenizer = tokenizer_of(family)
    config = make_config(index, actor_rollout_ref__rollout__prompt_length=2048)
    turns = [f"<answer>Ada</answer>{family.end}"]
    output, _ = play(LOOPS[agent], config, turns, MESSAGES, tokenizer=tokenizer, model_type=family.model_type)
    tokens = len(output.prompt_ids)
    assert len(rows_of(tmp_path, [agent], family, tokens)) == 1
    assert len(rows_of(tmp_path, [agent], family, tokens - 1)) == 0


def test_rows_of_several_loops_stay_in_order_and_each_is_counted_by_itself(tmp_path: Path) -> None:
    """At a limit between the two, the rows whose loop shows the tool are too long."""
    agents = ["search_agent", "search_tool_agent", "single_turn_agent", "search_agent", "search_tool_agent"]
    dataset = rows_of(tmp_path, agents, FAMILIES[0], 100)
    assert [row["extra_info"]["index"] for row in dataset.dataframe] == [0, 2, 3]
    assert dataset.dataframe.column_names == ["prompt", "agent_name", "extra_info"]
    assert len(rows_of(tmp_path, agents, FAMILIES[0], 1000)) == 5
    told = rows_of(tmp_path, agents, FAMILIES[0], 100, tool_config_path=TOOL_CONFIG)
    assert [row["extra_info"]["index"] for row in told.dataframe] == [0, 3], "the run's tools are the other loops'"
    assert len(rows_of(tmp_path, agents, FAMILIES[0], 1, filter_overlong_prompts=False)) == 5
