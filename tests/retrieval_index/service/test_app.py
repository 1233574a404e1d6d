"""The application without a socket: contracts as their clients use them, limits, errors, token, metrics."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from retrieval_index import Document, RetrievalError, build_index
from retrieval_index.corpora.ottqa import TABLE_MARK
from retrieval_index.service import ServiceSettings
from retrieval_index.service import batching as batching_module
from retrieval_index.service.app import create_app
from retrieval_index.service.settings import token_from

DOCUMENTS = [
    Document("/wiki/Prime_Suspect", "Prime Suspect", "Prime Suspect is a British drama with Helen Mirren."),
    Document("Drama_Cast_0", "Drama Cast", f"Cast\n{TABLE_MARK}\n| Actor |\n| --- |\n| Helen Mirren |"),
    Document("/wiki/Torrin", "Torrin", "Torrin is a village."),
]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ServiceSettings:
    path = tmp_path_factory.mktemp("service") / "index"
    build_index(DOCUMENTS, path)
    return ServiceSettings(path, max_top_k=10, max_queries=5, queue_limit=5, max_body_bytes=1000)


def client_of(settings: ServiceSettings) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(settings), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://service")


@pytest.fixture
async def client(settings: ServiceSettings) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(settings) as client:
        yield client


async def test_a_search_r1_client_works_unchanged(client: httpx.AsyncClient) -> None:
    body = {"queries": ["Helen Mirren", "Torrin"], "topk": 2, "return_scores": True}
    results = (await client.post("/retrieve", json=body)).json()["result"]
    shown = ""
    for rank, item in enumerate(results[0]):  # what its `_passages2string` reads
        content = item["document"]["contents"]
        title, text = content.split("\n")[0], "\n".join(content.split("\n")[1:])
        shown += f"Doc {rank + 1}(Title: {title}) {text}\n"
    assert '(Title: "Prime Suspect") Prime Suspect is a British drama' in shown
    assert len(results) == 2
    assert all(isinstance(item["score"], float) for result in results for item in result)


async def test_the_wapo_reference_environments_call_works_unchanged(client: httpx.AsyncClient) -> None:
    answer = await client.post("/retrieve", json={"queries": ["Helen Mirren drama"], "top_k": 5})
    (passages,) = answer.json()
    found = {p.split(" ")[0] if "Markdown Table:" in p else "wiki/" + p.split(" ")[0] for p in passages}
    assert found == {"wiki/Prime_Suspect", "Drama_Cast_0"}


async def test_verls_former_search_tools_call_works_unchanged(client: httpx.AsyncClient) -> None:
    body = {"queries": ["village"], "topk": 3, "return_scores": True}
    answer = await client.post("/retrieve", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert answer.json()["result"][0][0]["document"]["id"] == "/wiki/Torrin"


async def test_a_search_that_finds_nothing_says_so_by_an_empty_list(client: httpx.AsyncClient) -> None:
    answer = await client.post("/retrieve", json={"queries": ["the", "zebra"]})
    assert (answer.status_code, answer.json()) == (200, {"result": [[], []]})


async def test_every_answer_says_from_which_index_it_is(client: httpx.AsyncClient) -> None:
    info = (await client.get("/info")).json()
    answer = await client.post("/retrieve", json={"queries": ["village"]})
    assert info["manifest"]["corpus_hash"].startswith(answer.headers["x-retrieval-index"])
    assert info["manifest"]["documents"] == 3
    assert info["limits"]["max_top_k"] == 10


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "said"),
    [
        ("POST", "/retrieve", b"{", 400, "not JSON"),
        ("POST", "/retrieve", b'{"queries": ["a"], "top_k": 11}', 422, "from 1 to 10"),
        ("POST", "/retrieve", b'{"queries": ["", "", "", "", "", ""]}', 422, "5 are allowed"),
        ("POST", "/retrieve", b'"' + b"a" * 1000, 413, "over 1000 bytes"),
        ("GET", "/retrieve", b"", 405, "does not take GET"),
        ("GET", "/nowhere", b"", 404, "there is no /nowhere"),
    ],
)
async def test_every_error_is_json(
    client: httpx.AsyncClient, method: str, path: str, content: bytes, status: int, said: str
) -> None:
    answer = await client.request(method, path, content=content)
    assert answer.status_code == status
    assert answer.json()["error"]["status"] == status
    assert said in answer.json()["error"]["message"]


async def test_a_body_of_unknown_length_is_cut_off_too(client: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"a" * 100

    assert (await client.post("/retrieve", content=pieces())).status_code == 413


async def test_a_body_in_pieces_is_read_whole(client: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b'{"queries": ', b'["village"], ', b'"top_k": 1}'):
            yield piece

    assert (await client.post("/retrieve", content=pieces())).json()[0][0].startswith("Torrin ")


async def test_a_failing_engine_is_a_500_with_its_reason(
    settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RetrievalError("the disk is gone")

    monkeypatch.setattr(batching_module.Batcher, "_search", fail)
    async with client_of(settings) as client:
        answer = await client.post("/retrieve", json={"queries": ["village"]})
    assert answer.status_code == 500
    assert "the disk is gone" in answer.json()["error"]["message"]


async def test_a_full_queue_is_a_503_with_retry_after(
    settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching_module.Batcher, "_dispatch", lambda _: None)  # nothing is ever taken from the queue
    async with client_of(settings) as client:
        assert (await client.get("/ready")).status_code == 200
        waiting = asyncio.create_task(client.post("/retrieve", json={"queries": ["a"] * 5}))
        await asyncio.sleep(0.05)
        answer = await client.post("/retrieve", json={"queries": ["a"]})
        ready, health = await client.get("/ready"), await client.get("/health")
        waiting.cancel()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert (ready.status_code, ready.json()["error"]["message"]) == (503, "the queue is full")
    assert (health.status_code, health.json()) == (200, {"status": "alive"})


async def test_without_the_token_only_the_state_is_told(settings: ServiceSettings) -> None:
    async with client_of(replace(settings, token="s3cret")) as client:
        for path in ("/info", "/metrics", "/retrieve", "/nowhere"):
            missing = await client.get(path)
            wrong = await client.get(path, headers={"Authorization": "Bearer s3cre"})
            assert (missing.status_code, wrong.status_code) == (401, 401)
            assert "token is missing" in missing.json()["error"]["message"]
            assert "token is wrong" in wrong.json()["error"]["message"]
            assert missing.headers["www-authenticate"] == "Bearer"
        assert (await client.get("/health")).status_code == (await client.get("/ready")).status_code == 200
        right = {"Authorization": "Bearer s3cret"}
        assert (await client.post("/retrieve", json={"queries": ["a"]}, headers=right)).status_code == 200


async def test_metrics_count_what_was_answered(client: httpx.AsyncClient) -> None:
    await client.post("/retrieve", json={"queries": ["a", "b"], "top_k": 1})
    await client.post("/retrieve", json={"queries": ["a"]})
    await client.post("/retrieve", content=b"{")
    text = (await client.get("/metrics")).text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert lines['retrieval_requests_total{contract="wapo",status="200"}'] == "1.0"
    assert lines['retrieval_requests_total{contract="search_r1",status="200"}'] == "1.0"
    assert lines['retrieval_requests_total{contract="none",status="400"}'] == "1.0"
    assert lines["retrieval_queries_total"] == "3.0"
    assert lines["retrieval_request_seconds_count"] == "2.0"
    assert lines["retrieval_index_documents"] == "3.0"
    assert lines["retrieval_waiting_queries"] == "0.0"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"host": "0.0.0.0"}, "lets other machines in: give a token"),
        ({"host": "::"}, "lets other machines in"),
        ({"host": "node-1"}, "lets other machines in"),
        ({"workers": 0}, "--workers must be at least 1"),
        ({"port": 99999}, "--port must be at most 65535, not 99999"),
        ({"max_top_k": 0}, "--max-top-k must be at least 1"),
        ({"queue_limit": 10}, "--queue-limit 10 is below --max-queries 4096"),
        ({"default_top_k": 200}, "--default-top-k 200 is above --max-top-k 100"),
    ],
)
def test_what_cannot_be_served_is_said_before(options: dict[str, Any], said: str) -> None:
    with pytest.raises(RetrievalError, match=said):
        ServiceSettings(Path("index"), **options)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert ServiceSettings(Path("index"), host=host).token is None


def test_the_clients_variable_asks_for_a_token_without_any_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RETRIEVAL_TOKEN", raising=False)
    assert token_from(None) is None
    monkeypatch.setenv("RETRIEVAL_TOKEN", "s3cret")
    assert token_from(None) == "s3cret"
    monkeypatch.setenv("RETRIEVAL_TOKEN", "two words")
    with pytest.raises(RetrievalError, match="the token in RETRIEVAL_TOKEN must have ASCII"):
        token_from(None)


def test_others_may_come_with_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")
    assert ServiceSettings(Path("index"), host="0.0.0.0", token=token_from("TOKEN")).token == "s3cret"
    for value, said in (("", "has no TOKEN"), ("ü", "ASCII"), ("two words", "no spaces")):
        monkeypatch.setenv("TOKEN", value)
        with pytest.raises(RetrievalError, match=said):
            token_from("TOKEN")
