"""The viewer under attack: who is refused, hostile requests, and hostile records. The application alone, no browser."""

from __future__ import annotations

import io
import json
import random
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.recorded_run import completion, words, write_run
from typer import Exit
from typer.testing import CliRunner

from wapo_verl.cli.app import app as command
from wapo_verl.cli.show import show
from wapo_verl.viewer.app import create_app
from wapo_verl.viewer.runs import open_runs

TOKEN = "secret"
SECRETS = (b"Question", b"Skobworth", b"rollouts", b"root:")
"""What no caller without the token may read, and of /etc/passwd nobody."""

STEP = "/api/runs/0/sets/rollouts/steps/1"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("hostile") / "run")


async def status_of(application: Any, raw_path: bytes, method: bytes = b"GET", **headers: str) -> tuple[int, bytes]:
    """Ask an application for a path as it is on the wire, which no client's library has cleaned."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    path, _, query = raw_path.partition(b"?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method.decode("latin-1"),
        "scheme": "http",
        "path": unquote_to_bytes(path).decode("utf-8", "replace"),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
    }
    await application(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
    return sent[0]["status"], body


PATHS = [
    *(
        "/api/runs",
        "//api/runs",
        "/api/runs/",
        "/API/RUNS",
        "/api/runs%00",
        "/static/../api/runs",
        "/static/%2e%2e/api/runs",
    ),
    *("/static/..%2f..%2fapp.py", "/static/%00", "/static//etc/passwd", "/static/../../../../../../etc/passwd"),
    *(
        "/static/%5c..%5capp.py",
        "/static/" + "a/" * 5000,
        "/static/" + "a" * 5000,
        "/docs",
        "/openapi.json",
        "/.git/config",
    ),
    *(f"{STEP}/groups", f"/static/..{STEP}/groups", "/api/runs/-1/metrics", "/api/runs/" + "9" * 5000 + "/metrics"),
    *("/api/runs/0/sets/../../../etc/steps/1/groups", "/api/runs/0/sets/%2e%2e%2f/steps/1/groups"),
    *("/api/runs/0/sets/rollouts/steps/" + "9" * 300 + "/groups", "/api/runs/0/sets/rollouts/steps/-1/groups"),
    *(
        "/api/runs/0/sets/rollouts/steps/1e3/groups",
        f"{STEP}/group?group=" + "%00" * 50,
        f"{STEP}/completion?key=%ff%fe",
    ),
    *(f"{STEP}/worst?rule=x&most=1000000", f"{STEP}/worst?rule=%ed%a0%80", f"{STEP}/question?question={'a' * 60_000}"),
]


@pytest.mark.parametrize("given_token", ["", "?token=secre", "?token=%00", "?token=secret%00", "?token[]=secret"])
async def test_no_spelling_of_a_path_passes_without_the_token(run: Path, given_token: str) -> None:
    application = create_app(open_runs([run]), TOKEN)
    for path in PATHS:
        for method in (b"GET", b"HEAD", b"POST", b"OPTIONS", b"\xff"):
            query = given_token.replace("?", "&") if "?" in path else given_token
            status, body = await status_of(application, (path + query).encode(), method, Host="x")
            assert status in (403, 404, 405) or path.startswith("/static/"), (path, status)
            assert status < 500
            assert not any(secret in body for secret in SECRETS)


async def test_no_path_breaks_it_or_reads_another_file(run: Path) -> None:
    application = create_app(open_runs([run]), None)
    for path in PATHS:
        status, body = await status_of(application, path.encode(), Host="localhost")
        assert status in (200, 404, 405, 422), (path, status)
        assert b"root:" not in body
        assert b"import " not in body


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::", "10.0.0.1"]
)
async def test_without_a_token_another_hosts_page_learns_nothing_through_the_browser(run: Path, host: str) -> None:
    """DNS rebinding: a page's own name is made to mean this machine, so the browser lets the page ask."""
    application = create_app(open_runs([run]), None)
    status, body = await status_of(application, b"/api/runs", Host=host)
    assert status == 400
    assert not any(secret in body for secret in SECRETS)
    assert (await status_of(application, b"/api/runs", Host="localhost:8000"))[0] == 200


def test_without_a_token_it_listens_on_this_machine_alone(run: Path) -> None:
    done = CliRunner().invoke(command, ["view", str(run), "--no-token", "--host", "0.0.0.0"])
    assert done.exit_code == 1
    assert "--host 0.0.0.0 lets other machines in" in done.output


KEYS = ["answers", "document_ids", "queries", "outcome", "role", "text", "uid"]
VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from(["\ud800", "</script><img src=x onerror=alert(1)>", "\x1b[2J", "answered"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner),
    max_leaves=8,
)


@st.composite
def hostile_line(draw: st.DrawFn) -> str:
    """A record of which some values are something else."""
    line: dict[str, Any] = completion(0, draw(st.integers(0, 3)), 1.0, words(0))
    for key in draw(st.lists(st.sampled_from([*line["episode"]]), max_size=3)):
        line["episode"][key] = draw(VALUE)
    for key in draw(st.lists(st.sampled_from([*line, "reward_parts", "question_id", "timing"]), max_size=4)):
        line[key] = draw(VALUE)
    return json.dumps(line)


async def check_records(folder: Path, lines: list[str]) -> None:
    """Ask for everything about hostile records, in the page and in the terminal: an answer, or one sentence."""
    (folder / "rollouts").mkdir(exist_ok=True)
    (folder / "rollouts" / "1.jsonl").write_text("\n".join(lines) + "\n")
    application = create_app(open_runs([folder]), None)

    async def asked(path: str, **query: str) -> Any:
        status, body = await status_of(application, f"{STEP}/{path}?{urlencode(query)}".encode(), Host="localhost")
        assert status in (200, 404), (path, query, body)
        return json.loads(body)

    for group in (read := await asked("groups")).get("groups", []):
        await asked("group", group=group["group"])
        await asked("completion", key=group["completions"][0]["key"])
    for rule in ("length", "reward", "answer"):
        await asked("worst", rule=rule)
    with redirect_stdout(io.StringIO()) as shown, redirect_stderr(shown):
        try:
            show(folder, step=1)
        except Exit:
            assert "error" in read
    assert "\x1b[2J" not in shown.getvalue()


@settings(max_examples=20)
@given(lines=st.lists(hostile_line(), min_size=1, max_size=3))
async def test_hostile_records_are_shown_or_refused_in_one_sentence(tmp_path: Path, lines: list[str]) -> None:
    await check_records(tmp_path, lines)


@pytest.mark.slow
@settings(max_examples=200)
@given(lines=st.lists(hostile_line(), min_size=1, max_size=3))
async def test_200_drawn_records_are_shown_or_refused_in_one_sentence(tmp_path: Path, lines: list[str]) -> None:
    await check_records(tmp_path, lines)


@pytest.mark.parametrize(
    "line", ["[" * 100_000, '{"input": ' + "[" * 900 + "]" * 900 + "}", "1" * 10_000, '{"score": ' + "9" * 5000 + "}"]
)
async def test_records_without_bounds_are_refused_in_one_sentence(tmp_path: Path, line: str) -> None:
    await check_records(tmp_path, [line, "{}"])


REQUEST = st.tuples(
    st.sampled_from([path.encode() for path in PATHS if len(path) < 200])
    | st.binary(max_size=40).map(lambda raw: b"/" + raw),
    st.sampled_from([b"", b"?token=secret", b"?token=x", b"&key=1", b"%00", b"/../"]) | st.binary(max_size=20),
    st.sampled_from([b"GET", b"HEAD", b"POST"]) | st.binary(min_size=1, max_size=5),
)


@pytest.fixture(scope="module")
def application(run: Path) -> Any:
    return create_app(open_runs([run]), TOKEN)


async def check_request(application: Any, drawn: tuple[bytes, bytes, bytes], cookie: str) -> None:
    path, end, method = drawn
    status, body = await status_of(application, path + end, method, Host="x", Cookie=f"wapo_verl_view={cookie}")
    assert status in (200, 403, 404, 405, 422), (path, end, status)
    if cookie != TOKEN and b"token=secret" not in end + path:
        assert not any(secret in body for secret in SECRETS)


COOKIE = st.sampled_from([TOKEN, "x"]) | st.text('abcé"; ', max_size=5)


@settings(max_examples=200)
@given(drawn=REQUEST, cookie=COOKIE)
async def test_drawn_requests_are_survived(application: Any, drawn: tuple[bytes, bytes, bytes], cookie: str) -> None:
    await check_request(application, drawn, cookie)


@pytest.mark.slow
async def test_10000_changed_requests_are_survived(application: Any) -> None:
    """Known attacks, each changed at random by a fixed seed, with and without the token."""
    rng = random.Random(13)
    for _ in range(10_000):
        path = bytearray(rng.choice(PATHS).encode()[:300])
        for _ in range(rng.randint(0, 4)):
            place = rng.randrange(1, len(path) + 1)
            path[place : place + rng.randint(0, 3)] = rng.choice([b"", b"%00", b"/..", b"?", b"%2f", rng.randbytes(2)])
        end = rng.choice([b"", b"?token=x", b"&token=", b"%"])
        await check_request(
            application, (bytes(path), end, rng.choice([b"GET", b"HEAD"])), rng.choice([TOKEN, "x", ""])
        )
