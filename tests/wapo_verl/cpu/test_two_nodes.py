"""Slow: the real thing. The quickstart's task on a cluster of two Ray nodes, one rank and one vLLM on each.

Both nodes are of this machine. The run computes on their CPUs without being told, by their logical GPUs. One
process then trains on what they have sampled (veRL's `skip.rollout_tq` keeps it), and ends with the same weights.
Two more runs lose a process of the second node, and all of it; they search by a service.
"""

import contextlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray
import torch
from rich.console import Console
from safetensors.torch import load_file
from support.ports import free_port
from support.processes import HIDDEN
from support.ranks import run_ranks
from support.service import served

from benchmarks.faults import Run
from examples.quickstart.command import SPLITS, Folders, training_command
from examples.quickstart.metrics import ROLLOUT_GAP
from examples.quickstart.run import Stages, make_world
from examples.quickstart.settings import QuickstartSettings
from examples.quickstart.training import Training, train
from wapo_verl.evaluation.verl_process import plain
from wapo_verl.watch.processes import is_running, title_of

STEPS = 3
WORKER = Path(__file__).with_name("two_nodes_worker.py")

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.nightly]

SECOND = "127.0.0.2"
"""The second node's address: another of this machine's."""

RAY = [sys.executable, "-m", "ray.scripts.scripts"]


@pytest.fixture
def second_node(monkeypatch: pytest.MonkeyPatch) -> Iterator[psutil.Process]:
    """The second of two nodes as a user starts them; their folder's path must be short for sockets."""
    folder, port = Path(tempfile.mkdtemp(prefix="ray")), free_port()
    for name in HIDDEN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # a token of this machine's user would be asked of the second node
    address = f"{ray.util.get_node_ip_address()}:{port}"
    starts = [
        ["--head", f"--port={port}", "--include-dashboard=false"],
        [f"--address={address}", f"--node-ip-address={SECOND}"],  # so that the run's main process is on the first
    ]
    nodes: list[subprocess.Popen] = []
    try:
        for count, start in enumerate(starts, 1):
            command = [*RAY, "start", *start, "--num-cpus=16", "--num-gpus=1", "--disable-usage-stats", "--block"]
            nodes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True))
            wait_for(count, address, folder / "ray" / "ray_current_cluster")
        yield psutil.Process(nodes[1].pid)
    finally:
        for node in reversed(nodes):
            node.terminate()  # ends what it has started
            node.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(count: int, address: str, left: Path) -> None:
    """Wait until the cluster has that many nodes."""
    deadline = time.monotonic() + 120
    while not left.is_file():
        assert time.monotonic() < deadline, "ray start has not come up"
        time.sleep(0.5)
    ray.init(address=address, log_to_driver=False)
    try:
        while len(ray.nodes()) < count:
            assert time.monotonic() < deadline, f"node {count} has not come up"
            time.sleep(0.5)
    finally:
        ray.shutdown()


def make_task(folder: Path, warm_model: Path) -> Folders:
    """The quickstart's world, and its policy after the warm start."""
    folders = Folders(folder)
    make_world(folders, QuickstartSettings(), 0, Stages(Console(quiet=True)))
    shutil.copytree(warm_model, folders.model)
    return folders


@contextlib.contextmanager
def long_run(folders: Folders) -> Iterator[Run]:
    """A run on both nodes that searches by a service, after its first step."""
    with served(folders.index / "train") as address:
        run = Run(
            folders,
            "trainer.nnodes=2",
            "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=16",
            *(f"+wapo.search_agent.index.{split}={address}" for split in SPLITS),
            f"+ray_kwargs.ray_init.runtime_env.env_vars.VERL_FILE_LOGGER_PATH={folders.metrics}",
        )
        try:
            run.wait_for_step(1)
            yield run
        finally:
            run.kill()


def engine_below(node: psutil.Process) -> psutil.Process:
    """The engine of a node."""
    (engine,) = [each for each in node.children(recursive=True) if title_of(each).startswith("VLLM::EngineCore")]
    return engine


def run_verl(folders: Folders) -> tuple[Training, str]:
    overrides = [
        "trainer.nnodes=2",
        f"trainer.total_training_steps={STEPS}",
        "trainer.val_before_train=False",
        "trainer.test_freq=-1",
        f"trainer.save_freq={STEPS}",
        "actor_rollout_ref.actor.checkpoint.save_contents=[hf_model]",
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=64",
        "skip.rollout_tq.enable=True",
        f"skip.rollout_tq.steps={list(range(1, STEPS + 1))}",
        f"skip.rollout_tq.dump_dir={folders.out / 'sampled'}",
        # The driver's own variables do not reach a cluster that is there already.
        f"+ray_kwargs.ray_init.runtime_env.env_vars.VERL_FILE_LOGGER_PATH={folders.metrics}",
    ]
    command = training_command(folders, QuickstartSettings(), 0, overrides)
    training = train(command, folders.log, folders.metrics, Console(quiet=True))
    return training, "\n".join(plain(line) for line in folders.log.read_text(errors="replace").splitlines())


def test_two_nodes_train_as_one_process(
    second_node: psutil.Process, tmp_path: Path, warm_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two ranks on the winners alone, one rank on every row."""
    folders = make_task(tmp_path, warm_model)
    training, said = run_verl(folders)
    assert training.status == 0, said[-3000:]
    assert "computes on CPUs: the nodes of this Ray cluster have logical GPUs alone" in said
    assert len(training.rows) == STEPS
    for row in training.rows:
        assert row.values[ROLLOUT_GAP] < 1e-5
        assert 0 < row.values["actor/trained_rows/fraction"] < 1
    monkeypatch.setenv("VERL_PLATFORM", "cpu")  # which the run itself was not told
    run_ranks(WORKER, [str(folders.model), str(tmp_path / "sampled"), str(STEPS), str(tmp_path / "one.pt")], ranks=1)
    one, before = torch.load(tmp_path / "one.pt"), load_file(folders.model / "model.safetensors")
    saved = folders.out / "checkpoints" / f"global_step_{STEPS}" / "actor" / "huggingface" / "model.safetensors"
    two = load_file(saved)
    assert max(float((one[name] - before[name]).abs().max()) for name in one) > 1e-3
    for name, values in one.items():
        torch.testing.assert_close(two[name], values, rtol=0, atol=2e-6, msg=name)


def test_an_engine_stopped_on_the_other_node_ends_the_run(
    second_node: psutil.Process, tmp_path: Path, warm_model: Path
) -> None:
    """Only an actor on that node can see it, and only a process there can kill it."""
    with long_run(make_task(tmp_path, warm_model)) as run:
        engine = engine_below(second_node)
        engine.send_signal(signal.SIGSTOP)
        seconds, status = run.end()
        (said,) = [line for line in run.lines if "the run ends" in line]
        assert seconds is not None
        assert seconds < 60
        assert status == 1
        what = f"VLLM::EngineCore of vLLMHttpServer (process {engine.pid} of {SECOND}) is stopped"
        assert said.startswith(f"wapo-verl: the run ends, since {what}; the last whole checkpoint in ")
        psutil.wait_procs([engine], timeout=40)
        assert not is_running(engine)


def test_a_node_that_dies_ends_the_run(second_node: psutil.Process, tmp_path: Path, warm_model: Path) -> None:
    """All of its processes at once, as when a machine loses its power."""
    with long_run(make_task(tmp_path, warm_model)) as run:
        for process in [second_node, *second_node.children(recursive=True)]:
            process.kill()
        seconds, status = run.end()
        assert seconds is not None
        assert seconds < 60
        assert status == 1
        (said,) = [line for line in run.lines if "the run ends" in line]
        lost = rf"the machine {SECOND} does not answer|\w+ \(process \d+ of {SECOND}\) has died"
        assert re.match(rf"wapo-verl: the run ends, since ({lost}); the last whole checkpoint in ", said)
