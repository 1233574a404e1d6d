"""The viewer's local web application: JSON about runs, and the page. Read-only; no request leaves the machine."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Thread
from typing import Annotated, Any

import orjson
from fastapi import FastAPI, Query, Request, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from wapo_verl.viewer import completions
from wapo_verl.viewer.completions import StepReader
from wapo_verl.viewer.questions import MOST_ROWS, chosen_rows
from wapo_verl.viewer.run_index import PATIENCE, QuestionIndex
from wapo_verl.viewer.runs import RecordSet, Run, ViewError

STATIC = Path(__file__).with_name("static")
COOKIE = "wapo_verl_view"
OWN_NAMES = ["localhost", "127.0.0.1"]
HEADERS = {
    # Scripts and styles of this address alone, no frames, no forms, no other host: a policy's text can do nothing.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
WATCHED = {"length": "length", "repetition": "length", "answer": "answer"}
"""Part of a guard rule's name -> what its worst completions are sorted by; reward for all others."""


DEEPEST = 100
"""Levels of a value of a record that are answered; a browser's JSON and this encoder have limits of their own."""


class Answer(Response):
    """A JSON answer; a number that is not finite, or that no float holds, becomes null, which a page can read."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode the content."""
        options = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
        try:
            return orjson.dumps(content, option=options)
        except orjson.JSONEncodeError:
            return orjson.dumps(_plain(content, DEEPEST), option=options)


def _plain(value: Any, levels: int) -> Any:
    """Return a value without what JSON's encoder refuses: lone surrogates, whole numbers beyond 64 bits, depth."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return float(value) if value.bit_length() < 1024 else None
    if isinstance(value, dict | list) and levels == 0:
        return "(nested too deeply)"
    if isinstance(value, dict):
        return {_plain(str(name), 0): _plain(item, levels - 1) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, levels - 1) for item in value]
    return value


def create_app(runs: Sequence[Run], token: str | None) -> FastAPI:
    """Make the application.

    Args:
        runs: what is shown.
        token: what the address must hold the first time (`?token=...`; a cookie keeps it); None asks for none, and
            then answers requests to this machine's own names alone: a page of another host could give its name this
            machine's address, and ask through the browser.
    """
    reader = StepReader()
    indexes = {each: QuestionIndex(each) for run in runs for each in run.sets}

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        Thread(target=_load, args=[list(indexes.values())], daemon=True).start()
        yield

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, lifespan=lifespan)

    @app.middleware("http")
    async def guard_requests(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        answer = _refusal(request, token) or await go_on(request)
        answer.headers.update(HEADERS)
        given = request.query_params.get("token")
        if token is not None and given is not None and hmac.compare_digest(given.encode(), token.encode()):
            answer.set_cookie(COOKIE, token, httponly=True, samesite="strict")
        return answer

    if token is None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=OWN_NAMES)

    @app.exception_handler(ViewError)
    async def one_sentence(_: Request, error: Exception) -> Response:
        return Answer({"error": str(error)}, status_code=404)

    def chosen(run: int, name: str) -> RecordSet:
        if not 0 <= run < len(runs):
            raise ViewError(f"there is no run {run}; there are {len(runs)}")
        if name not in runs[run].by_name:
            raise ViewError(
                f"{runs[run].name} has no records {name!r}; it has {', '.join(runs[run].by_name) or 'none'}"
            )
        return runs[run].by_name[name]

    # Plain functions: FastAPI runs them in threads, so reading a file blocks no other request.
    @app.get("/api/runs")
    def list_runs() -> Answer:
        return Answer([described(run) for run in runs])

    @app.get("/api/runs/{run}/metrics")
    def metrics(run: int) -> Answer:
        if not 0 <= run < len(runs):
            raise ViewError(f"there is no run {run}; there are {len(runs)}")
        return Answer(columns(runs[run]))

    @app.get("/api/runs/{run}/sets/{name:path}/steps/{step}/groups")
    def list_groups(run: int, name: str, step: int) -> Answer:
        read = reader.read(chosen(run, name).file(step))
        return Answer({"groups": completions.groups(read), "cut": read.cut})

    @app.get("/api/runs/{run}/sets/{name:path}/steps/{step}/group")
    def one_group(run: int, name: str, step: int, group: str) -> Answer:
        return Answer(completions.group(reader.read(chosen(run, name).file(step)), group))

    @app.get("/api/runs/{run}/sets/{name:path}/steps/{step}/completion")
    def one_completion(run: int, name: str, step: int, key: str) -> Answer:
        return Answer(completions.completion(reader.read(chosen(run, name).file(step)), key))

    @app.get("/api/runs/{run}/sets/{name:path}/steps/{step}/question")
    def one_question(run: int, name: str, step: int, question: str) -> Answer:
        return Answer(completions.same_question(reader.read(chosen(run, name).file(step)), question))

    @app.get("/api/runs/{run}/sets/{name:path}/questions")
    def questions(run: int, name: str, asked: Annotated[Table, Query()]) -> Answer:
        index = indexes[chosen(run, name)]
        progress = index.progress()
        rows = chosen_rows(index.table(asked.by), asked.by, asked.show, asked.q, asked.sort, asked.down)
        return Answer({**progress, "total": len(rows), "rows": rows[asked.start : asked.start + MOST_ROWS]})

    @app.get("/api/questions/{question}")
    def everywhere(question: str) -> Answer:
        return Answer(places_of(question, runs, indexes))

    @app.get("/api/runs/{run}/sets/{name:path}/steps/{step}/worst")
    def worst(run: int, name: str, step: int, rule: str, most: Annotated[int, Query(ge=1, le=100)] = 10) -> Answer:
        metric = next((by for part, by in WATCHED.items() if part in rule), "reward")
        return Answer(completions.worst(reader.read(chosen(run, name).file(step)), metric, most))

    @app.get("/")
    def page() -> Response:
        return Response((STATIC / "index.html").read_bytes(), media_type="text/html; charset=utf-8")

    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


def _load(indexes: Sequence[QuestionIndex]) -> None:
    for index in indexes:
        index.load()


class Table(BaseModel):
    """What is asked of a table over a run; the fields are those of `chosen_rows`, and `start`, a row's number."""

    by: str = "questions"
    show: str = "all"
    q: str = ""
    sort: str = "missed"
    down: bool = True
    start: Annotated[int, Field(ge=0)] = 0


def places_of(question: str, runs: Sequence[Run], indexes: Mapping[RecordSet, QuestionIndex]) -> dict[str, Any]:
    """Return where a question was asked, in all runs that are open, and how many of their steps are known."""
    text, places, known, steps = None, [], 0, 0
    for number, run in enumerate(runs):
        for each in run.sets:
            progress = indexes[each].progress(PATIENCE / len(indexes))
            known, steps = known + progress["known"], steps + progress["steps"]
            found = indexes[each].question(question)
            if found is not None:
                text = found.text
                places.append({"run": number, "name": run.name, "set": each.name, "groups": found.described()})
    return {"text": text, "places": places, "known": known, "steps": steps}


def described(run: Run) -> dict[str, Any]:
    """Return what the first page says of a run."""
    return {
        "name": run.name,
        "folder": str(run.folder),
        "sets": [{"name": each.name, "steps": each.steps()} for each in run.sets],
        "alarms": run.alarms(),
        "steps": len(run.metrics()),
    }


def columns(run: Run) -> dict[str, Any]:
    """Return a run's metrics by column: the steps, and for each metric one number or null a step."""
    by_step = sorted(run.metrics().items())
    names = sorted({name for _, numbers in by_step for name in numbers})
    return {
        "steps": [step for step, _ in by_step],
        "values": {name: [numbers.get(name) for _, numbers in by_step] for name in names},
    }


def _refusal(request: Request, token: str | None) -> Response | None:
    """Return the answer to a request that has no token, or that changes something; None where it may go on."""
    if request.method not in ("GET", "HEAD"):
        return Answer({"error": "the viewer only reads"}, status_code=405)
    if token is None or request.scope["path"].startswith("/static/"):
        return None
    given = request.query_params.get("token") or request.cookies.get(COOKIE) or ""
    if hmac.compare_digest(given.encode(), token.encode()):
        return None
    return Answer({"error": "the address must end with the ?token=... that `wapo-verl view` printed"}, status_code=403)
