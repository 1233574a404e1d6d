"""Episodes of `search_agent` that search over HTTP. No GPU, no vLLM, no Ray: only the engine is scripted."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.ports import free_port
from support.scripted_engine import ScriptedEngine, make_config, make_tokenizer
from support.service import Service, answer, says, scripted
from verl.experimental.agent_loop.agent_loop import DictConfigWrap

from retrieval_index import Document, RetrievalError, build_index
from retrieval_index.client import retriever as retriever_module
from wapo_verl.environments.episode import Episode
from wapo_verl.environments.protocol import render_answer, render_search
from wapo_verl.metrics.episodes import batch_metrics
from wapo_verl.rollout.search_agent import SearchAgentLoop

LAST = render_answer("Torrin")
PROMPT = [{"role": "user", "content": "Where was the author of Nimbus born?"}]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("over_http") / "index"
    build_index([Document(f"d{number}", "", f"Book w{number} is by Ada Vale.") for number in range(100)], path)
    return path


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retriever_module, "FIRST_PAUSE_S", 0.05)


async def play(address: str, searches: list[str], **settings: Any) -> dict[str, Any]:
    """The extra fields of one episode that makes these searches and answers."""
    changes = {f"wapo__search_agent__{name}": value for name, value in settings.items()}
    tokenizer, config = make_tokenizer(), make_config(address, **changes)
    loop = SearchAgentLoop(
        trainer_config=DictConfigWrap(config),
        server_manager=ScriptedEngine(tokenizer, [*map(render_search, searches), LAST]),
        tokenizer=tokenizer,
        data_config=DictConfigWrap(config.data),
    )
    return dict((await loop.run({}, raw_prompt=PROMPT)).extra_fields)


@pytest.fixture
def service(index: Path) -> Iterator[Service]:
    service = Service(index, port=free_port())
    yield service
    service.kill()


async def test_episodes_go_on_where_the_server_is_killed_and_started_again(index: Path, service: Service) -> None:
    address = await asyncio.to_thread(lambda: service.address)
    before = await asyncio.gather(*(play(address, [f"w{number}", f"w{number + 50}"]) for number in range(8)))
    service.kill()
    during = [asyncio.create_task(play(address, [f"w{number}", f"w{number + 50}"])) for number in range(8, 40)]
    await asyncio.sleep(0.2)
    again = Service(index, port=int(address.rpartition(":")[2]))
    assert await asyncio.to_thread(lambda: again.address) == address
    found = [*before, *await asyncio.gather(*during)]
    again.kill()
    for number, extra in enumerate(found):
        episode = Episode.from_record(extra["episode"])
        assert (episode.outcome, episode.queries) == ("answered", (f"w{number}", f"w{number + 50}"))
        assert [ids[0] for ids in episode.document_ids] == [f"d{number}", f"d{number + 50}"]
    metrics = batch_metrics(found)
    assert metrics["retrieval/calls"] == 80
    assert metrics["retrieval/failed_attempts"] >= 32
    assert metrics["retrieval/retries"] == metrics["retrieval/failed_attempts"]
    assert metrics["episode/empty_searches"] == 0
    assert 0 < metrics["retrieval/latency_s/p50"] <= metrics["retrieval/latency_s/max"]


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (says(500, b'{"error": {"message": "the disk is gone"}}'), "the disk is gone"),
        (says(200, b'{"result": []}'), "0 results for 1 queries"),
        (says(503, b"{}", Retry_After="60"), "status 503"),
    ],
)
async def test_a_search_that_stays_failed_raises_and_is_no_empty_result(step: Any, reason: str) -> None:
    with scripted(step) as (address, _), pytest.raises(RetrievalError, match=reason):
        await play(address, ["w1"], retries=2, deadline_s=5.0)


async def test_the_completions_of_a_group_ask_once(index: Path) -> None:
    with scripted(answer) as (address, script):
        first = await play(address, ["w1"])
        others = await asyncio.gather(*(play(address, ["w1"]) for _ in range(7)))
    assert len(script.requests) == 1
    metrics = batch_metrics([first, *others])
    assert (metrics["retrieval/queries"], metrics["retrieval/cache_hits"]) == (8, 7)
    assert metrics["retrieval/cache_hit_rate"] == 7 / 8
