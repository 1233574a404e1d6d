"""What is taken for a lost process and what is cleaned up: real processes and files, Ray's own records. No Ray runs."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray.core.generated import common_pb2
from support.watched_run import row_of

from wapo_verl.watch import processes, reaper
from wapo_verl.watch.processes import DIED, GONE, SILENT, STOPPED, Actor, Engine, Trouble
from wapo_verl.watch.watch import Patience

HERE, ELSEWHERE = "a" * 56, "b" * 56


@pytest.fixture
def start() -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts a process with a title, as Ray and vLLM give themselves one."""
    started: list[subprocess.Popen[bytes]] = []

    def run(title: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([title, "60"], executable="/bin/sleep"))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


def actor(name: str = "Worker", pid: int = 0, **changes: Any) -> Actor:
    usual = {"node": HERE, "address": (name, 1), "owner": ("TaskRunnerV1", 1), "started": 1}
    return Actor(**{"name": name, "pid": pid, "is_over": False, "has_died": False, **usual, **changes})


RUNNER = actor("TaskRunnerV1", os.getpid(), owner=("driver", 1))


def found(*actors: Actor, engines: dict[int, Engine] | None = None, ray: dict[int, str] | None = None) -> list[Trouble]:
    return list(processes.troubles(actors, HERE, engines or {}, ray or {}))


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("reason", "message", "lost"),
    [
        ("WORKER_DIED", "Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits", True),
        ("WORKER_DIED", "Worker exit type: INTENDED_USER_EXIT Worker exit detail: exit_actor() is called.", False),
        ("NODE_DIED", "The actor died because its node has died.", True),
        ("RAY_KILL", "The actor is dead because it was killed by `ray.kill`.", False),
        ("OUT_OF_SCOPE", "all references to the actor were removed", False),
        ("OWNER_DIED", "its owner has died. Owner worker exit type: SYSTEM_ERROR", False),
    ],
)
def test_a_death_that_somebody_decided_is_no_loss(reason: str, message: str, lost: bool) -> None:
    """The messages are those that Ray 2.60 was seen to give."""
    died = common_pb2.ActorDiedErrorContext(reason=reason, error_message=message)
    assert processes.was_lost(common_pb2.ActorDeathCause(actor_died_error_context=died)) is lost


def test_an_actor_is_called_by_its_class_alone() -> None:
    """veRL makes its workers' classes within functions, whose names stand before theirs."""
    made = row_of("create_colocated_worker_cls.<locals>.WorkerDict", 7)
    assert [found.name for found in processes.actors_of({"1": made})] == ["WorkerDict"]


def test_an_actor_that_never_came_up_is_verls_to_tell() -> None:
    assert not processes.was_lost(common_pb2.ActorDeathCause())


def test_a_run_is_its_newest_task_runner_and_what_that_made() -> None:
    first = actor("TaskRunnerV1", address=("old", 1), started=1)
    second = actor("TaskRunnerV1", address=("new", 1), started=2)
    mine, theirs = actor("Mine", owner=("new", 1)), actor("Theirs", owner=("old", 1))
    a_tools = actor("Sandbox", owner=("Mine", 1))
    assert processes.run_of([theirs, second, mine, first, a_tools]) == [second, mine]
    assert processes.run_of([mine]) == []


def test_an_actor_that_has_died_is_trouble_wherever_it_was() -> None:
    dead = actor("AgentLoopWorker", 12, is_over=True, has_died=True, node=ELSEWHERE)
    assert processes.lost([RUNNER, dead], ELSEWHERE) == [Trouble("AgentLoopWorker", 12, DIED)]
    assert str(processes.lost([dead], ELSEWHERE)[0]) == "AgentLoopWorker (process 12) has died"
    assert str(processes.lost([dead], HERE)[0]) == "AgentLoopWorker (process 12 of AgentLoopWorker) has died"
    assert processes.lost([RUNNER, actor(is_over=True)], HERE) == []


def test_a_stopped_process_is_trouble_and_a_busy_one_is_not(start: Callable[..., Any]) -> None:
    process = start("ray::WorkerDict")
    worker = actor("WorkerDict", process.pid)
    assert found(RUNNER, worker) == []
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: found(RUNNER, worker) == [Trouble("WorkerDict", process.pid, STOPPED)])
    assert found(RUNNER, actor("WorkerDict", process.pid, node=ELSEWHERE)) == [], "another machine's process"
    process.send_signal(signal.SIGCONT)
    wait_until(lambda: found(RUNNER, worker) == [])


def test_an_engine_that_is_gone_is_trouble_as_long_as_its_server_lives(start: Callable[..., Any]) -> None:
    process = start("VLLM::EngineCore")
    server = actor("vLLMHttpServer", os.getpid())
    engines = processes.engines_below([RUNNER, server], HERE)
    assert engines == {process.pid: Engine("VLLM::EngineCore of vLLMHttpServer", os.getpid())}
    assert found(RUNNER, server, engines=engines) == []
    process.kill()
    expected = [Trouble("VLLM::EngineCore of vLLMHttpServer", process.pid, GONE)]
    wait_until(lambda: found(RUNNER, server, engines=engines) == expected)
    process.wait()
    assert found(RUNNER, server, engines=engines) == expected
    assert found(actor("TaskRunnerV1", is_over=True), server, engines=engines) == [], "the run has ended"


def test_rays_own_processes_are_looked_at(start: Callable[..., Any]) -> None:
    process = start("raylet")
    process.kill()
    process.wait()
    assert [str(trouble) for trouble in found(RUNNER, ray={process.pid: "raylet"})] == [
        f"Ray's raylet (process {process.pid}) is gone"
    ]


def test_only_what_lasts_ends_a_run() -> None:
    patience, lost, other = Patience(looks=3), Trouble("a", 1, STOPPED), Trouble("b", 2, STOPPED)
    assert [patience.see(look) for look in ([lost], [lost, other], [], [lost], [lost])] == [None] * 5
    assert patience.see([lost]) == lost


def test_a_machine_that_does_not_answer_is_named_and_left_to_ray() -> None:
    patience, silent = Patience(looks=2), Trouble("the machine", 0, SILENT, "10.0.0.2")
    assert [patience.see([silent]) for _ in range(4)] == [None] * 4
    assert patience.sure_of() == silent
    assert str(silent) == "the machine 10.0.0.2 does not answer"


def test_what_verl_ended_the_run_for_is_named_and_an_ordinary_end_is_not() -> None:
    patience = Patience()
    patience.see([Trouble("engine", 1, GONE)])
    assert patience.sure_of() is None, "engines go when a run ends"
    patience.see([Trouble("worker", 1, DIED)])
    assert patience.sure_of() == Trouble("worker", 1, DIED)


def test_the_family_is_rays_and_not_what_else_this_process_started(start: Callable[..., Any]) -> None:
    worker, others = start("ray::Worker"), start("a users server")
    members = processes.family([RUNNER], HERE, ())
    assert worker.pid in members
    assert others.pid not in members


def clean_up(news: dict[str, Any], end: str = "") -> None:
    """What is done when a run's main process is gone."""
    command = [sys.executable, "-I", "-S", str(reaper.__file__)]
    done = subprocess.run(command, input=json.dumps(news) + "\n" + end, text=True, capture_output=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_left_of_a_run_is_killed_and_its_sockets_removed(tmp_path: Path, start: Callable[..., Any]) -> None:
    left, another = start("ray::DashboardAgent"), start("ray::DashboardAgent")
    left.send_signal(signal.SIGSTOP)
    wrong_start = [another.pid, reaper.start_of(another.pid) - 1]  # the id belongs to another process by now
    for name in ("mine-replica-0.sock", "other-replica-0.sock"):
        (tmp_path / name).touch()
    family = [[left.pid, reaper.start_of(left.pid)], wrong_start]
    clean_up({"family": family, "sockets": f"{tmp_path}/mine-", "at_once": True}, end='{"family": [[1, ')
    assert left.wait(5) == -signal.SIGKILL
    assert another.poll() is None
    assert [path.name for path in tmp_path.iterdir()] == ["other-replica-0.sock"]


def test_where_the_run_may_still_go_on_only_what_is_stranded_is_killed(
    tmp_path: Path, start: Callable[..., Any]
) -> None:
    """On another machine the process that looks may be lost alone."""
    stopped, alive = start("ray::WorkerDict"), start("ray::AgentLoopWorker")
    stopped.send_signal(signal.SIGSTOP)
    wait_until(lambda: reaper.is_stranded(stopped.pid))
    (tmp_path / "mine-replica-0.sock").touch()
    family = [[each.pid, reaper.start_of(each.pid)] for each in (stopped, alive)]
    assert not reaper.end_what_is_left(family, 0.0, only_stranded=True)
    assert stopped.wait(5) == -signal.SIGKILL
    assert alive.poll() is None
    clean_up({"family": family, "sockets": f"{tmp_path}/mine-", "at_once": True, "only_stranded": True})
    time.sleep(0.3)
    assert alive.poll() is None
    assert list(tmp_path.iterdir()), "the run still needs its socket"


def test_a_process_whose_parent_is_gone_is_stranded() -> None:
    code = "import subprocess as s; print(s.Popen(['sleep', '60'], stdout=s.DEVNULL, stderr=s.DEVNULL).pid)"
    orphan = psutil.Process(int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout))
    try:
        assert reaper.is_stranded(orphan.pid)
    finally:
        orphan.kill()


def test_buffers_that_nobody_has_in_memory_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from multiprocessing import shared_memory

    names = [f"verl_weights_{os.getpid()}_{kind}" for kind in ("left", "young", "used")]
    used = shared_memory.SharedMemory(names[2], create=True, size=64)
    files = [Path("/dev/shm") / name for name in names]
    for file in files[:2]:
        file.touch()
    for file in (files[0], files[2]):
        os.utime(file, (0, time.time() - 60))
    monkeypatch.setattr(reaper, "SHARED_MEMORY", f"/dev/shm/verl_weights_{os.getpid()}_*")
    try:
        reaper.remove_leftovers("")
        assert [file.exists() for file in files] == [False, True, True]
    finally:
        used.close()
        used.unlink()
        files[1].unlink()


def test_a_process_that_ended_and_was_not_waited_for_is_not_alive(start: Callable[..., Any]) -> None:
    process = start("ray::Worker")
    start_ticks = reaper.start_of(process.pid)
    assert start_ticks is not None
    assert reaper.is_alive(process.pid, start_ticks)
    process.kill()
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
    assert not reaper.is_alive(process.pid, start_ticks)
