"""The GPU suite's runner, with pieces of a line or two: what fails, hangs or says nothing hides nothing. No GPU."""

import io
import json
import time
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from benchmarks.gpu import __main__ as suite
from benchmarks.gpu import runner
from benchmarks.gpu.cases import MARK, Case, Setting
from benchmarks.gpu.page import Machine, page, table
from benchmarks.gpu.pieces import PIECES
from benchmarks.gpu.runner import Outcome, Piece, run_piece

CASE = {"name": "sum", "result": "passed", "seconds": 0.5, "numbers": {"gap": 0.25}, "reason": ""}
GOOD = f"print({MARK + json.dumps(CASE)!r})"
HANGS = f"""{GOOD}
import subprocess, sys, time
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
print('child', child.pid, flush=True)
time.sleep(60)
"""
CODE = {
    "good": GOOD,
    "breaks": f"{GOOD}\nimport sys; raise SystemExit(f'no such kernel in {{sys.prefix}}')",
    "hangs": HANGS,
    "says nothing": "1 + 1",
}


def run(tmp_path: Path, name: str, limit: float = 20.0, left: float = 100.0) -> Outcome:
    piece = Piece(name, ("-c", CODE[name]), limit, "what it settles")
    return run_piece(piece, Setting("cpu", True, tmp_path), left)


def test_a_good_piece_passes_with_its_cases(tmp_path: Path) -> None:
    outcome = run(tmp_path, "good")
    assert outcome.result == "passed"
    assert outcome.cases == (Case("sum", "passed", 0.5, {"gap": 0.25}),)
    assert not outcome.last_lines


def test_a_piece_that_breaks_keeps_its_cases_and_says_why(tmp_path: Path) -> None:
    outcome = run(tmp_path, "breaks")
    assert (outcome.result, len(outcome.cases)) == ("failed", 1)
    assert outcome.last_lines[-1] == "no such kernel in PREFIX"


def test_a_piece_that_hangs_is_killed_with_its_children_and_keeps_its_cases(tmp_path: Path) -> None:
    started = time.monotonic()
    outcome = run(tmp_path, "hangs", limit=1.5)
    assert (outcome.result, len(outcome.cases)) == ("killed", 1)
    assert time.monotonic() - started < 10
    assert not psutil.pid_exists(int(outcome.last_lines[-1].split()[1]))


def test_a_piece_that_prints_no_case_has_not_passed(tmp_path: Path) -> None:
    assert run(tmp_path, "says nothing").result == "no result"


def test_a_piece_for_a_gpu_is_not_told_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests' own process has veRL compute on the CPU."""
    monkeypatch.setenv("VERL_PLATFORM", "cpu")
    assert "VERL_PLATFORM" not in runner._environment("cuda")
    assert runner._environment("cpu")["VERL_PLATFORM"] == "cpu"


def test_no_piece_is_started_when_the_suites_time_is_over(tmp_path: Path) -> None:
    assert run(tmp_path, "good", left=0.0).result == "no time"
    assert not list(tmp_path.iterdir())


def test_table_and_page_have_every_outcome(tmp_path: Path) -> None:
    outcomes = [run(tmp_path, name) for name in ("breaks", "says nothing", "good")]
    shown = Console(file=io.StringIO(), width=120)
    shown.print(table(outcomes))
    written = page(outcomes, Machine("a card", {"torch": "2.11.0"}), "make test-gpu")
    printed = shown.file.getvalue()
    for text in (printed, written):
        assert [text.index(name) for name in ("breaks", "says nothing", "good")] == sorted(
            text.index(name) for name in ("breaks", "says nothing", "good")
        )
        assert "no result" in text
    assert "a card. torch 2.11.0" in written
    assert "| sum | passed | 0.5 | gap 0.25 |" in written
    assert "no such kernel" in written


def test_the_page_is_written_after_each_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = []

    def stop(piece: Piece, setting: Setting, seconds_left: float) -> Outcome:
        if piece.name == "engine":
            pages.append((tmp_path / "gpu.md").read_text())
            raise KeyboardInterrupt
        return Outcome(piece, "failed", 3.0)

    monkeypatch.setattr(suite, "run_piece", stop)
    with pytest.raises(KeyboardInterrupt):
        suite.main(["algorithms", "engine"], device="cpu", out=tmp_path)
    assert "| algorithms | failed | 3 |" in pages[0]


def test_no_piece_that_hangs_takes_a_third_of_the_time() -> None:
    assert max(piece.limit for piece in PIECES) <= 8 * 60 / 3
    assert len({piece.name for piece in PIECES}) == len(PIECES)


def test_the_suite_ends_with_its_own_time(tmp_path: Path) -> None:
    outcome = run(tmp_path, "hangs", limit=60.0, left=1.5)
    assert outcome.result == "killed"
    assert outcome.seconds < 12
