"""What is seen and cleaned up on another machine: two Ray nodes of this one, real processes."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from wapo_verl.watch.machine import OtherMachines
from wapo_verl.watch.processes import STOPPED, Trouble, actors_of, is_running, run_of

pytestmark = [pytest.mark.slow, pytest.mark.ray]


def task_runner() -> type:
    """The class of the run's first actor, which makes another; made in a function, so that Ray carries their code."""

    class Worker:
        def pids(self) -> tuple[int, int]:
            """This process, and an engine below it."""
            command = ["VLLM::EngineCore", "60"]
            return os.getpid(), subprocess.Popen(command, executable="/bin/sleep", start_new_session=True).pid

    class TaskRunner:
        def make(self, node: str) -> tuple[int, int]:
            there = NodeAffinitySchedulingStrategy(node, soft=False)
            self.worker = ray.remote(num_cpus=0, scheduling_strategy=there)(Worker).remote()
            return ray.get(self.worker.pids.remote())

    return TaskRunner


@pytest.fixture
def run() -> Iterator[tuple[str, psutil.Process, psutil.Process]]:
    """The first node's id, and the worker and its engine on the second."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        other = cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        here = ray.get_runtime_context().get_node_id()
        first = NodeAffinitySchedulingStrategy(here, soft=False)
        runner = ray.remote(num_cpus=0, scheduling_strategy=first)(task_runner()).remote()
        yield here, *map(psutil.Process, ray.get(runner.make.remote(other.node_id)))
    finally:
        ray.shutdown()
        cluster.shutdown()


def seen_until(is_so: Callable[[list[Trouble]], bool], here: str, machines: OtherMachines) -> list[Trouble]:
    """Look as the watch does until what is seen is so."""
    from ray._private.state import state

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = machines.look(run_of(actors_of(state.actor_table(None))), here)
        if is_so(found):
            return found
        time.sleep(0.2)
    raise AssertionError("it was not seen")


def test_a_process_stopped_on_another_machine_is_seen_and_killed_with_the_run(
    run: tuple[str, psutil.Process, psutil.Process],
) -> None:
    here, worker, engine = run
    machines = OtherMachines()
    try:
        engine.send_signal(signal.SIGSTOP)
        (found,) = seen_until(bool, here, machines)
        address = ray.util.get_node_ip_address()
        assert found == Trouble("VLLM::EngineCore of Worker", engine.pid, STOPPED, address)
        assert str(found) == f"VLLM::EngineCore of Worker (process {engine.pid} of {address}) is stopped"
        worker.send_signal(signal.SIGSTOP)
        seen_until(lambda found: {trouble.process for trouble in found} >= {"Worker"}, here, machines)
        ray.shutdown()  # the job is over: its actors end, the one that looks among them
        psutil.wait_procs([worker, engine], timeout=40)
        assert not [each for each in (worker, engine) if is_running(each)]
    finally:
        for process in (worker, engine):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
