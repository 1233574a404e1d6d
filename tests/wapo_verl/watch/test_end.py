"""How a watched run ends: a main process of its own with real processes below it; only Ray's table is made up."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support.paths import TESTS

from wapo_verl.watch.processes import is_running

Run = tuple[subprocess.Popen[str], list[psutil.Process]]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    script = TESTS / "support" / "watched_run.py"
    command = [sys.executable, script, tmp_path / "table.json", "ray::WorkerDict", "ray::vLLMHttpServer", "a server"]
    main = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert main.stdout is not None
    started = [psutil.Process(pid) for pid in json.loads(main.stdout.readline())]
    yield main, started
    for process in [main, *started]:
        with contextlib.suppress(psutil.NoSuchProcess):  # the run's own end may come first
            process.kill()
    main.wait()


def wait_until(is_so: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def cleaner_behind(main: int) -> psutil.Process:
    """The process that cleans up: the reader of the main one's pipe."""
    pipes = {os.readlink(fd) for fd in Path(f"/proc/{main}/fd").iterdir()}
    running = psutil.process_iter(["cmdline"])
    reapers = [each for each in running if any("reaper.py" in word for word in each.info["cmdline"] or [])]
    (cleaner,) = [each for each in reapers if os.readlink(f"/proc/{each.pid}/fd/0") in pipes]
    return cleaner


def test_a_stopped_worker_ends_the_run_with_one_sentence_and_all_of_its_processes(run: Run) -> None:
    main, (worker, server, other) = run
    time.sleep(0.5)
    assert main.poll() is None, "all is well"
    worker.send_signal(signal.SIGSTOP)
    _, said = main.communicate(timeout=10)
    assert main.returncode == 1
    assert said == f"wapo-verl: the run ends, since WorkerDict (process {worker.pid}) is stopped; step 8 is whole\n"
    wait_until(lambda: not is_running(worker) and not is_running(server))
    assert is_running(other), "it is none of Ray's"


def test_the_process_that_cleans_up_outlives_the_main_one_and_ends_with_the_last_of_the_run(run: Run) -> None:
    main, (worker, server, _) = run
    time.sleep(0.3)
    cleaner = cleaner_behind(main.pid)
    assert cleaner.ppid() != main.pid, "Ray kills the children of an actor that ends"
    main.kill()
    time.sleep(0.3)
    assert is_running(cleaner)
    worker.kill()
    server.kill()
    wait_until(lambda: not is_running(cleaner))
