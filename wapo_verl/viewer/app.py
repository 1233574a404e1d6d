"""The viewer's local web application: JSON about runs, and the page. Read-only; no request leaves the machine.

The routes are plain functions: FastAPI runs them in threads, so reading a file blocks no other request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Thread
from typing import Annotated

from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field

from wapo_verl.viewer import completions
from wapo_verl.viewer.access import guard
from wapo_verl.viewer.answer import Answer
from wapo_verl.viewer.completions import Step, StepReader
from wapo_verl.viewer.questions import MOST_ROWS, chosen_rows
from wapo_verl.viewer.run_index import QuestionIndex, places_of
from wapo_verl.viewer.runs import RecordSet, Run, ViewError

STATIC = Path(__file__).with_name("static")
SET = "/api/runs/{run}/sets/{name:path}"
WATCHED = {"length": "length", "repetition": "length", "answer": "answer"}
"""Part of a guard rule's name -> what its worst completions are sorted by; reward for all others."""


def create_app(runs: Sequence[Run], token: str | None) -> FastAPI:
    """Make the application.

    Args:
        runs: what is shown.
        token: as `guard` takes it.
    """
    indexes = {each: QuestionIndex(each) for run in runs for each in run.sets}

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        Thread(target=_load, args=[list(indexes.values())], daemon=True).start()
        yield

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, lifespan=lifespan)
    guard(app, token)

    @app.exception_handler(ViewError)
    async def one_sentence(_: Request, error: Exception) -> Response:
        return Answer({"error": str(error)}, status_code=404)

    app.include_router(_run_routes(runs))
    app.include_router(_step_routes(runs, StepReader()))
    app.include_router(_question_routes(runs, indexes))

    @app.get("/")
    def page() -> Response:
        return Response((STATIC / "index.html").read_bytes(), media_type="text/html; charset=utf-8")

    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


def _load(indexes: Sequence[QuestionIndex]) -> None:
    for index in indexes:
        index.load()


def _run_at(runs: Sequence[Run], number: int) -> Run:
    if not 0 <= number < len(runs):
        raise ViewError(f"there is no run {number}; there are {len(runs)}")
    return runs[number]


def _run_routes(runs: Sequence[Run]) -> APIRouter:
    """Answer what there is of each run."""
    router = APIRouter()

    @router.get("/api/runs")
    def list_runs() -> Answer:
        return Answer([run.described() for run in runs])

    @router.get("/api/runs/{run}/metrics")
    def metrics(run: int) -> Answer:
        return Answer(_run_at(runs, run).columns())

    return router


def _step_routes(runs: Sequence[Run], reader: StepReader) -> APIRouter:
    """Answer from the completions of one step."""
    router = APIRouter(prefix=f"{SET}/steps/{{step}}")

    def read(run: int, name: str, step: int) -> Step:
        return reader.read(_run_at(runs, run).records(name).file(step))

    @router.get("/groups")
    def list_groups(run: int, name: str, step: int) -> Answer:
        there = read(run, name, step)
        return Answer({"groups": completions.groups(there), "cut": there.cut})

    @router.get("/group")
    def one_group(run: int, name: str, step: int, group: str) -> Answer:
        return Answer(completions.group(read(run, name, step), group))

    @router.get("/completion")
    def one_completion(run: int, name: str, step: int, key: str) -> Answer:
        return Answer(completions.completion(read(run, name, step), key))

    @router.get("/question")
    def one_question(run: int, name: str, step: int, question: str) -> Answer:
        return Answer(completions.same_question(read(run, name, step), question))

    @router.get("/worst")
    def worst(run: int, name: str, step: int, rule: str, most: Annotated[int, Query(ge=1, le=100)] = 10) -> Answer:
        metric = next((by for part, by in WATCHED.items() if part in rule), "reward")
        return Answer(completions.worst(read(run, name, step), metric, most))

    return router


class Table(BaseModel):
    """What is asked of a table over a run; the fields are those of `chosen_rows`, and `start`, a row's number."""

    by: str = "questions"
    show: str = "all"
    q: str = ""
    sort: str = "missed"
    down: bool = True
    start: Annotated[int, Field(ge=0)] = 0


def _question_routes(runs: Sequence[Run], indexes: Mapping[RecordSet, QuestionIndex]) -> APIRouter:
    """Answer from the questions of all steps."""
    router = APIRouter()

    @router.get(f"{SET}/questions")
    def questions(run: int, name: str, asked: Annotated[Table, Query()]) -> Answer:
        index = indexes[_run_at(runs, run).records(name)]
        progress = index.progress()
        rows = chosen_rows(index.table(asked.by), asked.by, asked.show, asked.q, asked.sort, asked.down)
        return Answer({**progress, "total": len(rows), "rows": rows[asked.start : asked.start + MOST_ROWS]})

    @router.get("/api/questions/{question}")
    def everywhere(question: str) -> Answer:
        return Answer(places_of(question, runs, indexes))

    return router
