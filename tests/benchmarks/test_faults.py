"""What a campaign of faults sees of a run's processes, on real processes."""

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from benchmarks.faults import still_running
from wapo_verl.watch.processes import command_of, is_running

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def sleeper() -> Iterator[psutil.Process]:
    process = subprocess.Popen(SLEEP)
    yield psutil.Process(process.pid)
    process.kill()
    process.wait()


def end_without_waiting(process: psutil.Process) -> None:
    process.kill()
    while process.status() != psutil.STATUS_ZOMBIE:
        pass


def test_a_process_that_runs_is_named(sleeper: psutil.Process) -> None:
    assert is_running(sleeper)
    assert still_running([sleeper]) == [f"{sleeper.pid} {' '.join(SLEEP)[:80]}"]


def test_a_process_that_nobody_waited_for_has_ended(sleeper: psutil.Process) -> None:
    end_without_waiting(sleeper)
    assert not is_running(sleeper)
    assert command_of(sleeper) == []
    assert still_running([sleeper]) == []


def test_a_process_may_end_while_it_is_asked(sleeper: psutil.Process, monkeypatch: pytest.MonkeyPatch) -> None:
    end_without_waiting(sleeper)
    monkeypatch.setattr(psutil.Process, "status", lambda _: psutil.STATUS_RUNNING)  # as it was a moment before
    assert is_running(sleeper)
    assert still_running([sleeper]) == []


def test_a_process_that_is_gone_has_ended() -> None:
    process = subprocess.Popen(SLEEP)
    known = psutil.Process(process.pid)
    process.kill()
    process.wait()
    assert still_running([known]) == []
