"""A server in Python that implements the part of OpenSearch's REST API that the back end uses, over real HTTP.

It is not OpenSearch, which cannot be installed from the package registries: it reads similarity and fields
from the request that creates an index, computes BM25 over what it was sent, and answers 400 to whatever it does not
know, so that a misspelt request fails. One `Cluster` has several nodes, each a server of its own at its own port, over
the same documents. `fail` makes the next requests fail, `stop_node` closes a node's port.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response


class Refused(Exception):
    """An error as OpenSearch answers it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        cause = {"type": "exception", "reason": reason}
        self.status = status
        self.body = {"error": {**cause, "root_cause": [cause]}, "status": status}


def need(condition: object, reason: str) -> None:
    if not condition:
        raise Refused(400, reason)


@dataclass
class StoredIndex:
    """Documents by `_id`; only what was there at the last refresh is searched and counted."""

    settings: dict[str, Any]
    properties: dict[str, Any]
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    visible: dict[str, dict[str, Any]] = field(default_factory=dict)
    counts: dict[str, Counter[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        terms = self.properties["terms"]
        similarity = self.settings["index"]["similarity"][terms["similarity"]]
        need(similarity["type"] == "BM25", "unknown similarity")
        need(terms["analyzer"] == "whitespace", f"failed to find analyzer [{terms['analyzer']}]")
        self.k1, self.b = similarity["k1"], similarity["b"]

    def refresh(self) -> None:
        for key, document in self.documents.items():
            if self.visible.get(key) is not document:
                self.counts[key] = Counter(document["terms"].split())
        self.visible = dict(self.documents)

    def matching(self, query: dict[str, Any]) -> dict[str, float]:
        """Scores by `_id` of the documents that match."""
        ((kind, body),) = query.items()
        ((name, asked),) = body.items()
        if kind == "term":
            need(self.properties.get(name, {}).get("type") == "keyword", f"no keyword field [{name}]")
            return {key: 1.0 for key, document in self.visible.items() if document[name] == asked["value"]}
        need(kind == "match" and name == "terms", f"unknown query [{kind}] on [{name}]")
        scores: Counter[str] = Counter()
        mean = sum(counts.total() for counts in self.counts.values()) / max(len(self.counts), 1)
        for word in asked["query"].split():
            found = {key: counts[word] for key, counts in self.counts.items() if word in counts}
            idf = math.log(1 + (len(self.counts) - len(found) + 0.5) / (len(found) + 0.5))
            for key, count in found.items():
                length = self.counts[key].total()
                scores[key] += idf * count / (count + self.k1 * (1 - self.b + self.b * length / mean))
        return scores

    def search(self, body: dict[str, Any]) -> dict[str, Any]:
        unknown = set(body) - {"query", "size", "sort", "track_total_hits", "_source"}
        need(not unknown, f"unknown key for {unknown}")
        need(0 <= body["size"] <= 10_000, "Result window is too large")
        sort = body.get("sort")
        need(sort in (None, [{"_score": "desc"}, {"position": "asc"}]), f"unknown sort {sort}")
        scores = self.matching(body["query"])
        rows = sorted(scores, key=lambda key: (-scores[key], self.visible[key]["position"]))[: body["size"]]
        hits = [{"_id": key, "_score": scores[key], "_source": self.visible[key]} for key in rows]
        if sort:
            hits = [{**hit, "_score": None, "sort": [hit["_score"], hit["_source"]["position"]]} for hit in hits]
        shards = {"total": 1, "successful": 1, "failed": 0}
        return {"took": 1, "timed_out": False, "_shards": shards, "hits": {"hits": hits}, "status": 200}


@dataclass
class Failure:
    """The next `times` requests whose path contains `path` are answered with `status`. With `part`, only a part of the
    answer says so: every second item of a bulk, or the last of several searches (0: one of its shards failed)."""

    path: str
    status: int
    times: int
    part: bool


class Cluster:
    """Nodes, the indexes they share, and every request they got."""

    def __init__(self, nodes: int = 2, credentials: str | None = None) -> None:
        self.indexes: dict[str, StoredIndex] = {}
        self.requests: list[tuple[int, str, str]] = []
        self.credentials = credentials
        self._failures: list[Failure] = []
        self._lock = threading.Lock()
        self._servers: list[uvicorn.Server] = []
        self._threads: list[threading.Thread] = []
        self.ports = [self._start_node(number) for number in range(nodes)]

    @property
    def hosts(self) -> str:
        return ",".join(f"http://127.0.0.1:{port}" for port in self.ports)

    def fail(self, path: str, status: int, times: int = 1, part: bool = False) -> None:
        self._failures.append(Failure(path, status, times, part))

    def stop_node(self, number: int) -> None:
        self._servers[number].should_exit = True
        self._servers[number].force_exit = True
        self._threads[number].join(10)

    def close(self) -> None:
        for number in range(len(self._servers)):
            self.stop_node(number)

    def _start_node(self, number: int) -> int:
        app = FastAPI()

        @app.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "PUT"])
        async def answer(path: str, request: Request) -> Response:
            body = await request.body()
            with self._lock:
                self.requests.append((number, request.method, path))
                try:
                    found: Any = self._answer(request, path, body)
                    status = 200
                except Refused as error:
                    status, found = error.status, error.body
            return Response(json.dumps(found), status, media_type="application/json")

        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.005)
        self._servers.append(server)
        self._threads.append(thread)
        port: int = server.servers[0].sockets[0].getsockname()[1]
        return port

    def _failure(self, path: str) -> Failure | None:
        for failure in self._failures:
            if failure.times and failure.path in f"/{path}":
                failure.times -= 1
                return failure
        return None

    def _answer(self, request: Request, path: str, body: bytes) -> Any:
        if self.credentials and request.headers.get("authorization") != self.credentials:
            raise Refused(401, "Unauthorized")
        failure = self._failure(path)
        if failure and not failure.part:
            raise Refused(failure.status, "asked to fail")
        match request.method, path.split("/"):
            case "POST", ["_msearch"]:
                return self._msearch(body, failure)
            case "HEAD", [name]:
                return self._index(name) and {}
            case "PUT", [name]:
                return self._create(name, json.loads(body))
            case "POST" | "PUT", [name, "_bulk"]:
                return self._bulk(self._index(name), body, failure)
            case "GET" | "POST", [name, "_count"]:
                return {"count": len(self._index(name).visible)}
            case "POST", [name, "_refresh"]:
                return self._index(name).refresh() or {"_shards": {"failed": 0}}
            case "PUT", [name, "_settings"]:
                return self._index(name).settings["index"].update(json.loads(body)["index"]) or {"acknowledged": True}
        raise Refused(400, f"no handler found for {request.method} /{path}")

    def _index(self, name: str) -> StoredIndex:
        if name not in self.indexes:
            raise Refused(404, f"no such index [{name}]")
        return self.indexes[name]

    def _create(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        need(name not in self.indexes, f"index [{name}] already exists")
        self.indexes[name] = StoredIndex(body["settings"], body["mappings"]["properties"])
        return {"acknowledged": True, "index": name}

    def _bulk(self, index: StoredIndex, body: bytes, failure: Failure | None) -> dict[str, Any]:
        need(body.endswith(b"\n"), "The bulk request must be terminated by a newline [\\n]")
        need(not index.settings["index"].get("blocks", {}).get("write"), "index is write-blocked")
        lines = [json.loads(line) for line in body.split(b"\n")[:-1]]
        items = []
        for number, (head, document) in enumerate(zip(lines[::2], lines[1::2], strict=True)):
            need(set(document) <= set(index.properties), "mapping set to strict")
            key, status, extra = head["index"]["_id"], 201, {}
            if failure and number % 2:
                status, extra = failure.status, {"error": {"type": "rejected", "reason": "asked to fail"}}
            else:
                index.documents[key] = document
            items.append({"index": {"_id": key, "status": status, **extra}})
        return {"errors": failure is not None, "items": items}

    def _msearch(self, body: bytes, failure: Failure | None) -> dict[str, Any]:
        lines = [json.loads(line) for line in body.split(b"\n")[:-1]]
        answers = []
        for head, query in zip(lines[::2], lines[1::2], strict=True):
            need(set(head) <= {"index", "search_type", "allow_partial_search_results"}, f"unknown key in {head}")
            try:
                answers.append(self._index(head["index"]).search(query))
            except Refused as error:
                answers.append(error.body)
        if failure and failure.status:
            answers[-1] = Refused(failure.status, "asked to fail").body
        elif failure:
            answers[-1] = {**answers[-1], "_shards": {"total": 2, "successful": 1, "failed": 1}}
        return {"took": 1, "responses": answers}
