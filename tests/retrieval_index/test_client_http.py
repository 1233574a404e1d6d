"""The client over real sockets, against servers that fail in each way that servers do. No GPU, no index."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.service import answer, says, scripted

from retrieval_index import RetrievalError
from retrieval_index.client import Attempts, connect, describe
from retrieval_index.client import retriever as retriever_module
from retrieval_index.client.answers import WrongAnswerError, read_answer, read_retry_after


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retriever_module, "FIRST_PAUSE_S", 0.01)


def body(*results: Any) -> bytes:
    return json.dumps({"result": list(results)}).encode()


async def test_it_asks_in_search_r1s_contract_and_keeps_its_connections() -> None:
    with scripted(answer) as (address, script):
        retriever = connect(address)
        for query in ("a", "b", "nul \0 end"):
            assert (await retriever.search([query], 2))[0][0].document.id == query
        await retriever.close()
    assert script.requests[0] == {"queries": ["a"], "topk": 2, "return_scores": True}
    assert "authorization" not in script.headers[0]


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (says(200, b"<html>busy</html>"), "is not JSON"),
        (says(200, b"[]"), 'no list "result"'),
        (says(200, b'{"error": "the index is loading"}'), "its answer is an error: the index is loading"),
        (says(200, b'{"error": {"message": "out of memory"}}'), "its answer is an error: out of memory"),
        (says(500, b'{"error": "the GPU is gone"}'), "status 500: the GPU is gone"),
        (says(503, b'{"detail": "come back"}'), "status 503: come back"),
        (says(500, b'{"detail": [{"msg": "field required"}]}'), 'status 500: {"detail": [{"msg": "field required"}]}'),
        (says(200, body()), "has 0 results for 1 queries"),
        (says(200, body([], [])), "has 2 results for 1 queries"),
        (says(200, body({})), "no list of at most 3"),
        (says(200, body([{"document": {"id": "a", "contents": "x"}}])), '"score"'),
        (says(200, body([{"document": {"id": 7, "contents": "x"}, "score": 1}])), '"id"'),
        (says(200, body([{"document": {"id": "a"}, "score": 1}])), '"contents"'),
        (says(200, body([{"document": {"id": "a", "contents": "x"}, "score": 1}] * 4)), "at most 3"),
        (says(500, b"Internal Server Error"), "status 500: Internal Server Error"),
        (says(200, body([]), wait_s=2.0), "no answer within 0.5 s"),
    ],
)
async def test_a_wrong_answer_is_retried_and_never_an_empty_result(step: Any, reason: str) -> None:
    with scripted(step) as (address, script):
        retriever = connect(address, retries=1, timeout_s=0.5 if "within" in reason else 5.0)
        with pytest.raises(RetrievalError, match=r"failed after 2 attempt\(s\)") as raised:
            await retriever.search(["q"], 3)
        assert reason in str(raised.value)
        assert address in str(raised.value)
        await retriever.close()
    assert len(script.requests) == 2


async def test_a_query_that_utf8_cannot_hold_is_sent_all_the_same() -> None:
    with scripted(says(200, body([]))) as (address, script):
        retriever = connect(address)
        assert await retriever.search(["half a pair \ud800"], 1) == [[]]
        await retriever.close()
    assert script.requests[0]["queries"] == ["half a pair \ud800"]


async def test_an_empty_result_that_is_no_error_is_one() -> None:
    with scripted(says(200, body([]))) as (address, _):
        retriever = connect(address)
        assert await retriever.search(["q"], 3) == [[]]
        await retriever.close()


async def test_retry_after_is_honoured() -> None:
    with scripted(says(503, b'{"error": {"message": "the queue is full"}}', Retry_After="1"), answer) as (
        address,
        script,
    ):
        retriever, attempts = connect(address), Attempts()
        assert (await retriever.search(["q"], 1, attempts))[0][0].document.id == "q"
        await retriever.close()
    assert script.times[1] - script.times[0] >= 1.0
    assert (attempts.retries, attempts.failed) == (1, 1)


@pytest.mark.parametrize(("status", "said"), [(401, "token_env"), (422, "status 422: too many"), (404, "status 404")])
async def test_what_asking_again_cannot_mend_fails_at_once(status: int, said: str) -> None:
    with scripted(says(status, b'{"error": {"status": 0, "message": "too many"}}')) as (address, script):
        retriever = connect(address)
        with pytest.raises(RetrievalError, match=rf"failed after 1 attempt\(s\).*{said}"):
            await retriever.search(["q"], 1)
        await retriever.close()
    assert len(script.requests) == 1


async def test_the_token_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "s3cret")
    with scripted(answer) as (address, script):
        retriever = connect(address, token_env="MY_TOKEN")
        await retriever.search(["q"], 1)
        await retriever.close()
    assert script.headers[0]["authorization"] == "Bearer s3cret"
    assert "s3cret" not in json.dumps(script.requests)


async def test_a_dead_server_and_a_slow_one_are_made_good_by_a_third() -> None:
    with scripted(says(200, body([]), wait_s=2.0)) as (slow, _), scripted(answer) as (sound, script):
        retriever, attempts = connect(["http://127.0.0.1:1", slow, sound], timeout_s=0.5, cached_queries=0), Attempts()
        found = await asyncio.gather(*(retriever.search([str(number)], 1, attempts) for number in range(30)))
        assert [hits[0][0].document.id for hits in found] == [str(number) for number in range(30)]
        assert attempts.failovers > 0
        await retriever.close()
    assert len(script.requests) >= 30


async def test_a_server_of_another_corpus_than_the_wanted_one_is_refused() -> None:
    def of(index: str) -> Any:
        return lambda request: (200, {"X-Retrieval-Index": index} if index else {}, answer(request)[2])

    for index, wanted, said in (("aaaabbbb", "aaaabbbbcccc", ""), ("aaaabbbb", "aaaa", ""), ("", "", "")):
        with scripted(of(index)) as (address, _):
            retriever = connect(address, corpus_hash=wanted)
            assert await retriever.search(["q"], 1), said
            await retriever.close()
    for index, said in (("aaaa", "has the corpus hash aaaa, not bbbb"), ("", "does not tell its corpus, not bbbb")):
        with scripted(of(index)) as (address, script):
            retriever = connect(address, corpus_hash="bbbb")
            with pytest.raises(RetrievalError, match=said):
                await retriever.search(["q"], 1)
            await retriever.close()
            assert len(script.requests) == 1


async def test_a_server_of_another_index_is_not_believed() -> None:
    def of(index: str) -> Any:
        return lambda request: (200, {"X-Retrieval-Index": index}, answer(request)[2])

    with scripted(of("aaaa")) as (first, _), scripted(of("bbbb")) as (other, script):
        retriever = connect(f"{first},{other}", cached_queries=0)
        for _ in range(4):
            assert await retriever.search(["q"], 1)
        await retriever.close()
        lone = connect(other, retries=0)
        lone._rotation.places[0]._connections.identity.value = "aaaa"
        with pytest.raises(RetrievalError, match="answers from another index"):
            await lone.search(["q"], 1)
        await lone.close()
    assert len(script.requests) == 2


def test_a_retriever_outlives_its_event_loop() -> None:
    with scripted(answer) as (address, _):
        retriever = connect(address, cached_queries=0)
        for _ in range(2):
            assert asyncio.run(retriever.search(["q"], 1))


def test_a_process_that_never_closes_its_retriever_ends_in_silence() -> None:
    code = (
        "import asyncio, functools, sys; from retrieval_index.client import connect; "
        "kept = functools.cache(connect); asyncio.run(kept(sys.argv[1]).search(['q'], 1))"
    )
    with scripted(answer) as (address, _):
        command = [sys.executable, "-c", code, address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_server_that_does_not_describe_itself_is_taken_as_it_is() -> None:
    with scripted(answer) as (address, _):
        assert describe(address).corpus_hash == ""


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(RetrievalError, match=r"no answer from http://127\.0\.0\.1:1 .*retrieval_index serve"):
        describe("http://127.0.0.1:1")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["result", "document", "id"]), inner),
)


@given(JSON)
def test_whatever_comes_is_an_answer_or_a_wrong_one(record: Any) -> None:
    try:
        found = read_answer(json.dumps(record).encode(), 1, 3)
    except WrongAnswerError:
        return
    assert len(found) == 1


@pytest.mark.parametrize(("value", "seconds"), [(None, 0.0), ("2", 2.0), ("-1", 0.0), ("soon", 0.0)])
def test_retry_after_is_read(value: str | None, seconds: float) -> None:
    assert read_retry_after(value) == seconds


def test_retry_after_may_be_a_date() -> None:
    assert read_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert read_retry_after("Wed, 21 Oct 2099 07:28:00 GMT") > 1e6
