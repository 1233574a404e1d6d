"""The service under attack: each bound, a list of known attacks, drawn requests, and 10,000 changed ones.

Real processes and raw sockets. What must hold: nothing is told without the token, no request fails the server, memory
stays bounded, and an honest caller is answered at once, during the attack and after it.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.service import Service

from retrieval_index import Document, build_index
from retrieval_index.service import ServiceSettings, answers, connection, retrieve
from retrieval_index.service.metrics import ServiceMetrics

TOKEN = "s3cret"
STATUSES = {200, 400, 401, 404, 405, 408, 413, 422, 503}
"""What may be answered: never 500."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    path = tmp_path_factory.mktemp("hostile") / "index"
    build_index([Document(f"/wiki/W{n}", f"W {n}", f"granite w{n}") for n in range(300)], path)
    service = Service(path, "--token-from-env", "SECRET", "--threads", "1", variables={"SECRET": TOKEN})
    service.port = int(service.address.rpartition(":")[2])
    before = memory_mb(service)
    try:
        yield service
        assert answered(service, request(BODY))[0] == 200
        assert memory_mb(service) - before < 300
        status, errors = service.end()
    finally:
        service.kill()
    assert status == 0
    assert errors == "", "no caller may fill the log"


def memory_mb(service: Service) -> float:
    return float(psutil.Process(service.process.pid).memory_info().rss) / 2**20


def request(body: bytes = b"", path: str = "/retrieve", method: str = "POST", token: str = TOKEN, **more: str) -> bytes:
    """A whole request, well formed."""
    headers = {"Host": "x", "Authorization": f"Bearer {token}", "Connection": "close", **more}
    headers["Content-Length"] = headers.get("Content-Length", str(len(body)))
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("utf-8", "surrogateescape") + body


def connect(service: Service, seconds: float = 20.0) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=seconds)


def received(sock: socket.socket) -> bytes:
    """All that comes until the server closes the connection. Fails where it does not within the time limit."""
    data = b""
    try:
        while chunk := sock.recv(1 << 16):
            data += chunk
    except ConnectionResetError:
        pass
    return data


def answered(service: Service, data: bytes) -> tuple[int, bytes]:
    """Status and body of the answer to a whole request."""
    with closing(connect(service)) as sock:
        sock.sendall(data)
        head, _, body = received(sock).partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


def check(answer: bytes, data: bytes) -> None:
    """Whatever was answered is an answer, and tells nothing to a caller without the token."""
    if not answer:
        return  # the request was not complete
    assert answer.startswith(b"HTTP/1.1 "), answer
    status = int(answer[9:12])
    assert status in STATUSES | {100}, answer
    assert b"Traceback" not in answer
    if TOKEN.encode() not in data:
        assert b"corpus_hash" not in answer
        assert b"granite" not in answer
        assert b"retrieval_queries" not in answer


def attack(service: Service, data: bytes, *, half_close: bool = True) -> bytes:
    """Send bytes as they are; the answer to what of them is a request."""
    with closing(connect(service)) as sock:
        try:
            sock.sendall(data)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError, OSError):
            pass
        answer = received(sock)
    check(answer, data)
    return answer


BODY = json.dumps({"queries": ["granite"], "top_k": 1}).encode()
AUTH = f"Authorization: Bearer {TOKEN}\r\n".encode()
RAW = {
    "no request": b"\x00" * 64,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 300,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    "HTTP/0.9": b"GET /info\r\n\r\n",
    "HTTP/9.9": b"GET /info HTTP/9.9\r\n\r\n",
    "bare line feeds": b"GET /info HTTP/1.1\nHost: x\n\n",
    "space before the colon": b"GET /info HTTP/1.1\r\nHost : x\r\n\r\n",
    "folded header": b"GET /info HTTP/1.1\r\nHost: x\r\n y\r\n\r\n",
    "NUL in a header": b"GET /info HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n",
    "header of control characters": b"GET /info HTTP/1.1\r\n\x01\x02: x\r\n\r\n",
    "no colon": b"GET /info HTTP/1.1\r\nHost\r\n\r\n",
    "broken host": b"GET /nowhere HTTP/1.1\r\nHost: [::1\r\n" + AUTH + b"\r\n",
    "two lengths": b"POST /retrieve HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 30\r\n" + AUTH + b"\r\n" + BODY,
    "negative length": b"POST /retrieve HTTP/1.1\r\nContent-Length: -1\r\n" + AUTH + b"\r\n" + BODY,
    "length in words": b"POST /retrieve HTTP/1.1\r\nContent-Length: 1_0\r\n" + AUTH + b"\r\n" + BODY,
    "length beyond 64 bits": b"POST /retrieve HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n" + BODY,
    "length and chunks": b"POST /retrieve HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "hidden second request": b"POST /retrieve HTTP/1.1\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"0\r\n\r\nGET /info HTTP/1.1\r\nHost: x\r\n\r\n",
    "obscured chunks": b"POST /retrieve HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "chunk size beyond 64 bits": b"POST /retrieve HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx",
    "chunk extension": b"POST /retrieve HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;"
    + b"a" * 70_000
    + b"\r\nx\r\n0\r\n\r\n",
    "100,000 headers": b"GET /info HTTP/1.1\r\n" + b"a: b\r\n" * 100_000 + b"\r\n",
    "a header without an end": b"GET /info HTTP/1.1\r\nA: " + b"a" * 1_000_000,
    "an address without an end": b"GET /" + b"a" * 1_000_000,
    "a method without an end": b"G" * 1_000_000,
    "a pipeline": request(path="/info", method="GET", token="wrong").replace(b"close", b"keep-alive") * 200,
    "websocket": b"GET /retrieve HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "h2c": b"GET /info HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n",
    "proxy": b"CONNECT 10.0.0.1:22 HTTP/1.1\r\nHost: 10.0.0.1:22\r\n\r\n",
    "absolute address": b"GET http://10.0.0.1/info HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "trace": b"TRACE /info HTTP/1.1\r\nHost: x\r\n\r\n",
    "invented method": b"JEFF /info HTTP/1.1\r\nHost: x\r\n\r\n",
    "two tokens": b"GET /info HTTP/1.1\r\nAuthorization: Bearer x\r\n" + AUTH + b"Connection: close\r\n\r\n",
    "token in another header": b"GET /info HTTP/1.1\r\nX-Authorization: Bearer s\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n",
}


@pytest.mark.parametrize("data", RAW.values(), ids=RAW)
def test_attacks_on_the_protocol_end_with_a_refusal_or_a_closed_connection(service: Service, data: bytes) -> None:
    answer = attack(service, data)
    assert not answer.startswith(b"HTTP/1.1 200"), answer


PATHS = [
    *("/info", "/metrics", "/health/../info", "/health/%2e%2e/info", "//info", "/info/", "/INFO", "/info;/health"),
    *("/health%2f..%2finfo", "/health?/../info", "/info#/health", "/info%00/health", "/%69nfo", "/retrieve/../info"),
    *("/../../../../etc/passwd", "/%2e%2e%2f%2e%2e%2fetc/passwd", "/docs", "/openapi.json", "/redoc", "/.git/config"),
    *("/" + "a/" * 5000, "/%ff%fe%00", "/%", "/%zz", "/\u202einfo"),
]


@pytest.mark.parametrize("path", PATHS)
def test_no_spelling_of_a_path_passes_without_the_token(service: Service, path: str) -> None:
    for method in ("GET", "POST", "HEAD", "PUT", "DELETE"):
        for token in ("wrong", "s3cre", "", "s3cret\t", "S3CRET"):
            check(answer := attack(service, request(b"", path, method, token), half_close=False), b"")
            if not path.startswith("/health?"):
                assert answer[9:12] in (b"401", b"400"), answer


BODIES: dict[str, bytes] = {
    "empty": b"",
    "not JSON": b"{",
    "nesting": b"[" * 1_000_000,
    "nesting in a key": b'{"queries": ' + b"[" * 500_000 + b"]" * 500_000 + b"}",
    "a number of a million digits": b'{"queries": ["a"], "top_k": ' + b"9" * 1_000_000 + b"}",
    "infinity": b'{"queries": ["a"], "top_k": 1e999}',
    "not a number": b'{"queries": ["a"], "top_k": NaN}',
    "negative zero": b'{"queries": ["a"], "top_k": -0}',
    "a float": b'{"queries": ["a"], "top_k": 1.0}',
    "true": b'{"queries": ["a"], "top_k": true}',
    "beyond 64 bits": b'{"queries": ["a"], "top_k": 18446744073709551617}',
    "a million keys": b"{" + b",".join(b'"%d":0' % n for n in range(200_000)) + b"}",
    "the same key": b'{"queries": ["a"], "queries": 7}',
    "UTF-16": '{"queries": ["a"]}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"queries": [1]}',
    "not UTF-8": b'{"queries": ["\xff\xfe"]}',
    "gzip": gzip.compress(b'{"queries": ["' + b"a" * 10_000_000 + b'"]}'),
    "a pickle": b"\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.",
    "XML": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    "too many queries": json.dumps({"queries": [""] * 5000}).encode(),
    "too many documents": json.dumps({"queries": ["a"] * 1000, "top_k": 100}).encode(),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_hostile_bodies_are_refused_with_a_sentence(service: Service, body: bytes) -> None:
    status, answer = answered(service, request(body, Content_Encoding="gzip"))
    assert status in (400, 413, 422), answer
    assert json.loads(answer)["error"]["status"] == status


QUERIES = {
    "query language": 'title:"granite"^9 AND (id:* OR NOT [a TO z]) ~2',
    "SQL": "'; DROP TABLE documents; --",
    "a template": "{{7*7}} ${jndi:ldap://10.0.0.1/a} %s%n {0.__class__}",
    "NUL": "gra\x00nite",
    "half a pair": "\ud800",
    "right to left": "\u202egranite",
    "a thousand accents": "g" + "\u0301" * 10_000,
    "one character that becomes eighteen": "\ufdfa" * 20_000,
    "a long word": "a" * 1_000_000,
    "many words": " ".join(f"w{n}" for n in range(150_000)),
    "many stopwords": "the who " * 100_000,
    "unspaced": "五岳" * 100_000,
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_hostile_queries_are_only_words_and_cost_little(service: Service, query: str) -> None:
    body = json.dumps({"queries": [query] * 3, "top_k": 3}).encode()
    started = time.monotonic()
    status, answer = answered(service, request(body))
    assert (status, len(json.loads(answer))) == (200, 3)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("token", [TOKEN, "wrong"])
@pytest.mark.parametrize("path", ["/retrieve", "/nowhere"])
@pytest.mark.parametrize("size", [4_000_001, 40_000_000])
def test_a_body_above_the_limit_gets_its_answer_before_the_connection_closes(
    service: Service, token: str, path: str, size: int
) -> None:
    """By the standard library's client, which sends all before it reads, and asks for the connection to be closed."""
    url = f"http://127.0.0.1:{service.port}{path}"
    asked = urllib.request.Request(url, b"a" * size, {"Authorization": f"Bearer {token}"})
    for _ in range(3):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(asked, timeout=60)
        assert refused.value.code == (401 if token == "wrong" else 404 if path == "/nowhere" else 413)
        assert json.loads(refused.value.read())["error"]["status"] == refused.value.code


async def test_a_body_that_does_not_arrive_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the application alone, in hundredths of a second."""
    monkeypatch.setattr(retrieve, "BODY_S", 0.05)
    monkeypatch.setattr(answers, "REST_S", 0.01)
    sent: list[Any] = []

    async def never() -> Any:
        await asyncio.sleep(60)

    async def send(message: Any) -> None:
        sent.append(message)

    app = retrieve.Retrieve(ServiceSettings(Path("index")), None, ServiceMetrics(1), "id")
    await app({"type": "http", "headers": []}, never, send)
    assert sent[0]["status"] == 408
    sent.clear()
    await app({"type": "http", "headers": [(b"content-length", b"5000000")]}, never, send)
    assert sent[0]["status"] == 413


@pytest.mark.slow
def test_a_header_that_trickles_in_is_given_up_while_others_are_answered(service: Service) -> None:
    slow = [connect(service, connection.HEADER_S + 30) for _ in range(200)]
    for number, sock in enumerate(slow):
        sock.sendall(b"GET /info HTTP/1.1\r\nA: "[: number % 20])
    started = time.monotonic()
    while time.monotonic() - started < connection.HEADER_S / 2:
        assert answered(service, request(BODY))[0] == 200
        time.sleep(1)
    assert all(received(sock) == b"" for sock in slow)
    assert time.monotonic() - started < connection.HEADER_S + 15
    for sock in slow:
        sock.close()


PLACES = ["/retrieve", "/info", "/metrics", "/health", "/ready", "/", "*", "//", "/%00"]
NAMES = ["Content-Length", "Transfer-Encoding", "Authorization", "Expect", "Connection", "Host", "Upgrade"]
VALUES = ["0", "5", "-1", "9" * 20, "chunked", "100-continue", "close", "keep-alive", f"Bearer {TOKEN}", "websocket"]
HEADER = st.tuples(
    st.sampled_from(NAMES) | st.text(max_size=10),
    st.sampled_from(VALUES) | st.text(max_size=20),
)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("granite"),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["queries", "top_k", "topk", "return_scores"]) | st.text(max_size=5), inner)
    ),
    max_leaves=10,
)
ASKED = st.fixed_dictionaries(
    {"queries": VALUE | st.lists(st.text(max_size=200), max_size=6)},
    optional={"top_k": VALUE, "topk": VALUE, "return_scores": VALUE, "x": VALUE},
)
CONTENT = (VALUE | ASKED).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=200)


@st.composite
def hostile_bytes(draw: st.DrawFn) -> bytes:
    """A request with a few headers of its own, then cut, doubled, or with bytes changed."""
    method = draw(st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS"]) | st.text(max_size=8))
    place = draw(st.sampled_from(PLACES) | st.text(max_size=30))
    headers = "".join(f"{name}: {value}\r\n" for name, value in draw(st.lists(HEADER, max_size=5)))
    version = draw(st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/2", ""]))
    head = f"{method} {place} {version}\r\n{headers}\r\n".encode("utf-8", "surrogatepass")
    data = bytearray(head + draw(CONTENT))
    for position, value in draw(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4)):
        if position < len(data):
            data[position] = value
    return bytes(data[: draw(st.integers(0, 400))] if draw(st.booleans()) else data * draw(st.integers(1, 3)))


@settings(max_examples=50)
@given(data=hostile_bytes())
def test_drawn_byte_strings_are_survived(service: Service, data: bytes) -> None:
    attack(service, data)


@settings(max_examples=100)
@given(body=CONTENT, token=st.sampled_from([TOKEN, TOKEN, TOKEN, "wrong"]))
def test_drawn_bodies_are_answered_or_refused(service: Service, body: bytes, token: str) -> None:
    status, answer = answered(service, request(body, token=token))
    assert status in (200, 400, 401, 422)
    assert (status == 401) == (token != TOKEN)
    record = json.loads(answer) if status == 200 else json.loads(answer)["error"]
    assert record is not None


def changed(data: bytes, rng: random.Random) -> bytes:
    """A request with a few bytes changed, a piece taken out, a piece said twice, or an end of another request."""
    made = bytearray(data)
    for _ in range(rng.randint(0, 4)):
        start = rng.randrange(len(made) + 1)
        end = min(len(made), start + rng.randint(0, 20))
        made[start:end] = rng.choice(
            [
                b"",
                bytes(made[start:end]) * 2,
                rng.randbytes(3),
                b"\r\n",
                b"\r\n\r\n",
                b"\x00",
                b": ",
                b"chunked",
                b"9" * 20,
            ]
        )
    return bytes(made)


@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_changed_requests_are_survived(service: Service, count: int) -> None:
    """Known attacks and sound requests, each changed at random by a fixed seed."""
    rng = random.Random(13)
    sound = [request(BODY), request(BODY, token="wrong"), request(path="/info", method="GET")]
    sound += [request(body) for body in BODIES.values()]
    parents = [data for data in [*sound * 3, *RAW.values()] if len(data) < 5000]
    for _ in range(count):
        attack(service, changed(rng.choice(parents), rng))
