"""The service as real processes: start-up, signals, several workers, and a client that lives through a restart."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
import requests
from support.ports import free_port
from support.service import Service, served
from typer.testing import CliRunner

from retrieval_index import Document, RetrievalError, build_index
from retrieval_index.cli.app import app
from retrieval_index.client import Attempts, connect, describe


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("service") / "index"
    build_index([Document(f"/wiki/W{n}", f"W {n}", f"granite w{n}") for n in range(300)], path)
    return path


@pytest.fixture(scope="module")
def address(index: Path) -> Iterator[str]:
    with served(index) as address:
        yield address


def test_a_search_r1_client_and_the_wapo_environment_ask_by_requests(address: str) -> None:
    url = f"{address}/retrieve"
    with_scores = requests.post(url, json={"queries": ["w7", "w8"], "topk": 3, "return_scores": True}).json()["result"]
    assert [result[0]["document"]["contents"] for result in with_scores] == ['"W 7"\ngranite w7', '"W 8"\ngranite w8']
    without = requests.post(url, json={"queries": ["w7"], "topk": 1, "return_scores": False}).json()["result"]
    assert without[0][0]["id"] == "/wiki/W7"
    passages = requests.post(url, json={"queries": ["w7"], "top_k": 1}, timeout=10).json()
    assert "wiki/" + passages[0][0].split(" ")[0] == "wiki/W7"
    with httpx.Client() as client:
        assert client.post(url, json={"queries": ["w7"], "top_k": 1}).json() == passages


async def test_many_callers_get_their_own_answers(address: str) -> None:
    retriever = connect(address, retries=0, cached_queries=0)
    found = await asyncio.gather(*(retriever.search([f"w{number}"], 3) for number in range(300)))
    assert [hits[0][0].document.id for hits in found] == [f"/wiki/W{number}" for number in range(300)]
    await retriever.close()


def test_the_index_is_described(address: str, index: Path) -> None:
    assert describe(address).corpus_hash == describe(index).corpus_hash
    assert describe(address).documents == 300


def within(seconds: float) -> Iterator[None]:
    """Turns to wait for something in; fails where it has not come in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(0.005)
    pytest.fail(f"it has not come within {seconds} s")


def wait_until_refused(address: str) -> None:
    for _ in within(30):
        try:
            requests.get(f"{address}/health", timeout=30)
        except requests.ConnectionError:
            return


def test_sigterm_answers_what_was_taken_and_ends_with_0(index: Path) -> None:
    service = Service(index, "--threads", "1", "--max-queries", "5000")
    address = service.address
    big = {"queries": [f"w{number % 300} granite" for number in range(5000)], "topk": 5, "return_scores": True}
    ended = threading.Event()

    def ask() -> int:
        answer = requests.post(f"{address}/retrieve", json=big, timeout=60)
        assert not ended.is_set()
        return len(answer.json()["result"])

    with ThreadPoolExecutor(1) as pool:
        answers = pool.submit(ask)
        for _ in within(30):
            if "retrieval_waiting_queries 0.0" not in requests.get(f"{address}/metrics", timeout=30).text:
                break
        service.process.send_signal(signal.SIGTERM)
        wait_until_refused(address)
        assert answers.result(60) == 5000
        status, errors = service.end()
        ended.set()
    assert (status, errors) == (0, "")


def refused(*arguments: str) -> str:
    """What `serve` says when it ends before it serves."""
    done = CliRunner().invoke(app, ["serve", *arguments])
    assert (done.exit_code, done.stdout) == (1, "")
    return " ".join(done.stderr.split())


def test_a_half_built_index_is_not_served(tmp_path: Path) -> None:
    build_index([Document("a", "", "granite")], tmp_path / "index")
    next((tmp_path / "index" / "engine").glob("*.store")).unlink()
    assert "are not the ones its manifest.json lists" in refused(str(tmp_path / "index"), "--workers", "2")
    (tmp_path / "index" / "manifest.json").unlink()
    service = Service(tmp_path / "index")
    output, errors = service.process.communicate(timeout=60)
    assert (service.process.returncode, output) == (1, "")
    assert "no manifest.json, so it is no finished index" in " ".join(errors.split())
    assert "Traceback" not in errors


def test_other_machines_need_a_token_and_the_client_sends_it(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "lets other machines in: give a token" in refused(str(index), "--host", "0.0.0.0")
    with served(index, "--token-from-env", "SECRET", variables={"SECRET": "s3cret"}) as address:
        monkeypatch.setenv("RETRIEVAL_TOKEN", "another")
        with pytest.raises(RetrievalError, match="status 401: the token is wrong"):
            describe(address)
        with pytest.raises(RetrievalError, match=r"1 attempt\(s\).*status 401.*token_env"):
            asyncio.run(connect(address).search(["w1"], 1))
        monkeypatch.setenv("RETRIEVAL_TOKEN", "s3cret")
        assert describe(address).documents == 300
        assert asyncio.run(connect(address).search(["w1"], 1))[0]


async def test_a_server_that_is_killed_and_started_again_loses_nothing(index: Path) -> None:
    port = free_port()
    service = Service(index, port=port)
    address = service.address
    retriever, attempts = connect(address, cached_queries=0), Attempts()
    answered: list[str] = []
    waiting = iter(range(100_000))

    async def ask() -> None:
        for number in waiting:
            found = await retriever.search([f"w{number % 300}"], 1, attempts)
            assert found[0][0].document.id == f"/wiki/W{number % 300}"
            answered.append(found[0][0].document.id)
            if restarted and len(answered) >= enough:
                return

    restarted, enough = False, 0
    callers = [asyncio.create_task(ask()) for _ in range(16)]
    async with asyncio.timeout(60):
        while len(answered) < 200:
            await asyncio.sleep(0.01)
    service.kill()
    again = Service(index, port=port)
    assert await asyncio.to_thread(lambda: again.address) == address
    restarted, enough = True, len(answered) + 200
    await asyncio.gather(*callers)
    again.kill()
    await retriever.close()
    assert attempts.failed > 0
    assert attempts.failures == 0
    assert attempts.calls == len(answered)


async def test_workers_share_the_address_count_together_and_are_replaced(index: Path) -> None:
    service = Service(index, "--workers", "2")
    address = service.address
    retriever = connect(address, cached_queries=0)
    for _ in range(20):
        await asyncio.gather(*(retriever.search([f"w{number}"], 1) for number in range(10)))
    text = (await asyncio.to_thread(requests.get, f"{address}/metrics")).text
    assert "retrieval_queries_total 200.0" in text
    assert "retrieval_index_documents 300.0" in text
    workers = [
        child.pid for child in psutil.Process(service.process.pid).children() if "spawn_main" in str(child.cmdline())
    ]
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    for number in range(100):
        assert (await retriever.search([f"w{number}"], 1))[0]
    await retriever.close()
    assert await asyncio.to_thread(service.end) == (0, "")
    assert not any(psutil.pid_exists(pid) for pid in workers)


def test_one_service_never_answers_from_two_indexes(tmp_path: Path) -> None:
    """A worker that is replaced after the index was would open the new one, beside others with the old one."""
    build_index([Document("a", "", "granite")], tmp_path / "index")
    service = Service(tmp_path / "index", "--workers", "2")
    assert requests.get(f"{service.address}/ready", timeout=30).status_code == 200
    build_index([Document("b", "", "granite")], tmp_path / "index", overwrite=True)
    children = psutil.Process(service.process.pid).children()
    os.kill(next(child.pid for child in children if "spawn_main" in str(child.cmdline())), signal.SIGKILL)
    _, errors = service.process.communicate(timeout=60)
    assert service.process.returncode == 1
    assert "is another one than this service began with" in errors
    assert "Traceback" not in errors


def test_a_caller_that_hangs_up_is_not_searched_for(index: Path) -> None:
    body = json.dumps({"queries": [f"w{number} granite" for number in range(4000)], "topk": 3}).encode()
    head = b"POST /retrieve HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
    with served(index, "--threads", "1", "--queue-limit", "20000") as address:
        port = int(address.rpartition(":")[2])
        for _ in range(4):
            with socket.create_connection(("127.0.0.1", port)) as caller:
                caller.sendall(head + body)
        started = time.monotonic()
        for _ in within(60):
            text = requests.get(f"{address}/metrics", timeout=30).text
            if "retrieval_waiting_queries 0.0" in text and "retrieval_queries_total 0.0" in text:
                break
        alone = requests.post(f"{address}/retrieve", json={"queries": ["w7"], "topk": 1}, timeout=30)
        assert alone.status_code == 200
        assert time.monotonic() - started < 60
        searched = re.search(r"retrieval_batch_queries_sum (\S+)", requests.get(f"{address}/metrics", timeout=30).text)
        assert searched is not None
        assert float(searched[1]) < 16_000


def test_an_address_that_is_taken_is_one_sentence(index: Path, address: str) -> None:
    assert "choose another --host or --port" in refused(str(index), "--port", address.rpartition(":")[2])


def test_a_waiting_query_does_not_stop_health(index: Path, address: str) -> None:
    """The event loop stays free while the threads search."""
    body = json.dumps({"queries": [f"w{number} granite" for number in range(3000)]})
    with ThreadPoolExecutor(2) as pool:
        slow = [pool.submit(requests.post, f"{address}/retrieve", body) for _ in range(2)]
        while not all(answer.done() for answer in slow):
            assert requests.get(f"{address}/health", timeout=5).json() == {"status": "alive"}
    assert {len(answer.result().json()["result"]) for answer in slow} == {3000}


def workers_of(service: Service) -> list[psutil.Process]:
    """The processes that serve, of a service with several."""
    children = psutil.Process(service.process.pid).children()
    return [child for child in children if "spawn_main" in str(child.cmdline())]


def test_workers_whose_parent_was_killed_end_and_free_the_address(index: Path) -> None:
    service = Service(index, "--workers", "2")
    address = service.address
    workers = workers_of(service)
    assert len(workers) == 2
    service.kill()
    psutil.wait_procs(workers, timeout=30)
    assert not any(worker.is_running() for worker in workers)
    with served(index, "--workers", "2", port=int(address.rpartition(":")[2])) as again:
        assert requests.post(f"{again}/retrieve", json={"queries": ["w7"]}, timeout=30).status_code == 200


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced_and_does_not_keep_the_service_from_ending(index: Path) -> None:
    service = Service(index, "--workers", "2", "--drain-s", "1")
    address = service.address
    hanging, other = workers_of(service)
    hanging.suspend()
    psutil.wait_procs([hanging], timeout=60)
    assert not hanging.is_running()
    for _ in within(30):
        if len(workers_of(service)) == 2:
            break
    assert requests.post(f"{address}/retrieve", json={"queries": ["w7"]}, timeout=30).status_code == 200
    other.suspend()
    started = time.monotonic()
    assert service.end()[0] == 0
    assert time.monotonic() - started < 60
