"""A retrieval service as a real process, and a server that follows a script; each on a port of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

START_S = 60.0


class Service:
    """`python -m retrieval_index serve INDEX` with further arguments; `address` is known once it answers."""

    def __init__(self, index: Path, *arguments: str, port: int = 0, variables: Mapping[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "retrieval_index", "serve", str(index), "--port", str(port), *arguments]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(variables or {})},
        )

    @property
    def address(self) -> str:
        """Wait for the line that says where it serves."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, f"{line!r} {self.process.stderr.read() if self.process.stderr else ''}"
        return found.group()

    def kill(self) -> None:
        """End it at once, answering nobody."""
        self.process.kill()
        self.process.wait()

    def end(self) -> tuple[int, str]:
        """Ask it to end; its exit status and what it wrote to stderr."""
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=START_S)
        return self.process.returncode, errors


@contextmanager
def served(index: Path, *arguments: str, **options: Any) -> Iterator[str]:
    """The address of a service that ends with the block."""
    service = Service(index, *arguments, **options)
    try:
        yield service.address
    finally:
        service.kill()


@dataclass
class Script:
    """What a scripted server does: each request takes the next step, and the last one is repeated."""

    steps: list[Callable[[dict[str, Any]], tuple[int, dict[str, str], bytes]]]
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def answer(body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    """One document for each query, whose id is the query."""
    found = [
        [{"document": {"id": query, "title": "", "text": "x", "contents": '""\nx'}, "score": 1.0}]
        for query in body["queries"]
    ]
    return 200, {}, json.dumps({"result": found}).encode()


def says(
    status: int, body: bytes = b"{}", wait_s: float = 0.0, **headers: str
) -> Callable[[dict[str, Any]], tuple[int, dict[str, str], bytes]]:
    """A step that answers always the same."""

    def step(_: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        time.sleep(wait_s)
        return status, {name.replace("_", "-"): value for name, value in headers.items()}, body

    return step


@contextmanager
def scripted(*steps: Callable[[dict[str, Any]], tuple[int, dict[str, str], bytes]]) -> Iterator[tuple[str, Script]]:
    """A real HTTP server that follows a script: its address, and what it was asked."""
    script = Script(list(steps))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with script.lock:
                script.requests.append(body)
                script.headers.append({name.lower(): value for name, value in self.headers.items()})
                script.times.append(time.monotonic())
                step = script.steps.pop(0) if len(script.steps) > 1 else script.steps[0]
            self.reply(*step(body))

        def do_GET(self) -> None:
            self.reply(404, {}, b'{"detail": "Not Found"}')

        def reply(self, status: int, headers: dict[str, str], content: bytes) -> None:
            try:
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the caller did not wait

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 128  # of 5, which is the default, a burst loses some for a second
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", script
    finally:
        server.shutdown()
        server.server_close()
