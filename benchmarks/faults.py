"""Kill and stop the processes of real runs, fill their disks, and write down what happens: docs/faults.md's table.

    python -m benchmarks.faults FOLDER [NAME ...]

Each fault is one run of the quickstart's task (veRL, Ray, FSDP2 and vLLM on this machine's CPU), small and with a
checkpoint at every step. A run takes two to four minutes, most of them its start. What was measured is kept in
FOLDER as one JSON file a fault; a fault that was not run is in no table.
"""

import contextlib
import glob
import html
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console

from examples.quickstart.command import Folders, training_command
from examples.quickstart.make_model import make_model
from examples.quickstart.run import Stages, make_world
from examples.quickstart.settings import QuickstartSettings
from wapo_verl.evaluation.verl_process import plain
from wapo_verl.watch.processes import command_of, is_running
from wapo_verl.watch.reaper import SHARED_MEMORY

SETTINGS = QuickstartSettings(prompts_per_step=8, group_size=4, warm_up_steps=1)
STEPS = 400
"""More than a run makes before its fault."""

PAGE = Path("docs/faults.md")
HEAD = """| what is done | the run | what it says | left behind |
|---|---|---|---|
"""

START_SECONDS, END_SECONDS = 600.0, 180.0
OVERRIDES = (
    "trainer.val_before_train=False",
    "trainer.test_freq=-1",
    "trainer.save_freq=1",
    "trainer.max_actor_ckpt_to_keep=2",
    "trainer.resume_mode=auto",
)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to a run.

    Attributes:
        title: how the title of the process begins that it is done to; "" for the main process.
        signal: what is sent.
        moment: what a process's title holds at that moment, "" for any; with a "!" before it, the moment at which no
            title holds it any more.
        words: what happens, for the table.
    """

    title: str
    signal: signal.Signals
    words: str
    moment: str = ""


AGENT_LOOPS = "ray::FailFastAgentLoopWorker"
KILL, STOP = signal.SIGKILL, signal.SIGSTOP
UPDATE, SAMPLING = "update_actor", "!generate_sequences"

FAULTS = {
    "agent-loop-killed": Fault(AGENT_LOOPS, KILL, "the agent loops' worker is killed while it plays", SAMPLING),
    "agent-loop-killed-between": Fault(
        AGENT_LOOPS, KILL, "the agent loops' worker is killed before it is asked to play"
    ),
    "agent-loop-stopped": Fault(AGENT_LOOPS, STOP, "the agent loops' worker is stopped while it plays", SAMPLING),
    "engine-killed-in-update": Fault("VLLM::", KILL, "vLLM's engine is killed while the actor updates", UPDATE),
    "engine-stopped": Fault("VLLM::", STOP, "vLLM's engine is stopped while it samples", SAMPLING),
    "server-killed": Fault("ray::vLLMHttpServer", KILL, "the rollout server is killed"),
    "actor-killed": Fault("ray::WorkerDict", KILL, "the actor's worker is killed while it updates", UPDATE),
    "actor-stopped": Fault("ray::WorkerDict", STOP, "the actor's worker is stopped while it updates", UPDATE),
    "runner-killed": Fault("ray::TaskRunner", KILL, "the trainer's process is killed"),
    "runner-stopped": Fault("ray::TaskRunner", STOP, "the trainer's process is stopped"),
    "reward-killed": Fault("ray::RewardLoopWorker", KILL, "a reward worker is killed"),
    "queue-killed": Fault("ray::TransferQueueController", KILL, "the queue's controller is killed"),
    "storage-killed": Fault("ray::SimpleStorageUnit", KILL, "the queue's storage is killed"),
    "balancer-killed": Fault("ray::GlobalRequestLoadBalancer", KILL, "the load balancer is killed"),
    "raylet-stopped": Fault("raylet", STOP, "Ray's raylet is stopped"),
    "gcs-stopped": Fault("gcs_server", STOP, "Ray's gcs_server is stopped"),
    "gcs-killed": Fault("gcs_server", KILL, "Ray's gcs_server is killed"),
    "main-killed": Fault("", KILL, "the main process is killed"),
}


DISKS = "small-disks"
"""The name of the run whose disks are full soon."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did.

    Attributes:
        step: the last step that was logged before the fault.
        ended: seconds from the fault to the end of the main process; None where it did not end.
        status: its exit status.
        sentences: the different lines of ours in its output.
        last_line: the last line of its output.
        cleaned: seconds from its end until no process of the run was left.
        leftovers: processes and files that were left after that.
    """

    step: int
    ended: float | None
    status: int | None
    sentences: list[str]
    last_line: str
    cleaned: float
    leftovers: list[str]


class Run:
    """One run of veRL, in a folder with the quickstart's world and model."""

    def __init__(self, folders: Folders, *overrides: str, metrics: Path | None = None) -> None:
        self.folders = folders
        self.metrics = folders.metrics if metrics is None else metrics / folders.metrics.name
        command = training_command(
            folders, SETTINGS, 0, [*OVERRIDES, f"trainer.total_training_steps={STEPS}", *overrides]
        )
        environment = {**os.environ, "VERL_FILE_LOGGER_PATH": str(self.metrics), "PYTHONUNBUFFERED": "1"}
        folders.log.unlink(missing_ok=True)
        with folders.log.open("wb") as output:
            self.process = psutil.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
            )
        self.family: dict[int, psutil.Process] = {}

    def wait_for_step(self, step: int) -> None:
        """Wait until the metrics of a step are logged."""
        self._wait(lambda: self.last_step >= step, START_SECONDS)

    def _wait(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the run did not get there: {self.folders.log}")
            time.sleep(0.02)

    @property
    def last_step(self) -> int:
        """The last step that was logged, 0 before the first."""
        lines = self.metrics.read_bytes().splitlines() if self.metrics.exists() else []
        return max((json.loads(line)["step"] for line in lines), default=0)

    def members(self) -> Iterator[tuple[psutil.Process, str]]:
        """Yield the processes of the run but the main one, with their titles."""
        for process in self.process.children(recursive=True):
            try:
                command = process.cmdline()
                name = process.name()
            except psutil.Error:
                continue
            self.family[process.pid] = process
            yield process, command[0] if command and command[0].startswith(("ray::", "VLLM::")) else name

    def strike(self, fault: Fault) -> int:
        """Do it, at its moment; return the process it was done to."""
        found: list[psutil.Process] = []
        moment = fault.moment.removeprefix("!")

        def is_the_moment() -> bool:
            titles = list(self.members())
            found[:] = [process for process, title in titles if title.startswith(fault.title)]
            return any(moment in title for _, title in titles)

        self._wait(is_the_moment, 120)
        if moment != fault.moment:
            self._wait(lambda: not is_the_moment(), 120)
        target = found[0] if fault.title else self.process
        target.send_signal(fault.signal)
        return int(target.pid)

    def end(self) -> tuple[float | None, int | None]:
        """Wait for the end; return the seconds it took and the status, (None, None) where it does not come."""
        started = time.monotonic()
        try:
            status = self.process.wait(END_SECONDS)
        except psutil.TimeoutExpired:
            return None, None
        return time.monotonic() - started, status

    def alive(self) -> list[str]:
        """Return the processes of the run that are still there."""
        return still_running(self.family.values())

    def kill(self) -> None:
        """End all that is left."""
        for process in [self.process, *self.family.values()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    @property
    def lines(self) -> list[str]:
        """The output, without colours."""
        text = self.folders.log.read_text(errors="replace")
        return [line for line in map(plain, text.splitlines()) if line.strip()]


def still_running(processes: Iterable[psutil.Process]) -> list[str]:
    """Return the id and the command of each process that has not ended; one may end while it is asked."""
    return [
        f"{each.pid} {' '.join(words)[:80]}" for each in processes if is_running(each) and (words := command_of(each))
    ]


def files_left() -> set[str]:
    """Return the shared memory and sockets of veRL's weights on this machine."""
    return {*glob.glob(SHARED_MEMORY), *glob.glob("/tmp/rl-colocate-zmq-*")}


def observe(run: Run, step: int, before: set[str]) -> Outcome:
    """Wait for a run's end and see what it leaves."""
    ended, status = run.end()
    over = time.monotonic()
    while ended is not None and run.alive() and time.monotonic() - over < 60:
        time.sleep(0.2)
    cleaned = time.monotonic() - over
    time.sleep(6)  # the buffers of weights are removed when they are five seconds old
    ours = [line for line in run.lines if line.startswith("wapo-verl: ") or "CheckpointError: " in line]
    return Outcome(
        step=step,
        ended=ended,
        status=status,
        sentences=list(dict.fromkeys(ours)),
        last_line=run.lines[-1],
        cleaned=cleaned,
        leftovers=[*run.alive(), *sorted(files_left() - before)],
    )


def with_fault(folders: Folders, fault: Fault) -> Outcome:
    """Make a run, strike after its second step, and see what happens."""
    before = files_left()
    run = Run(folders)
    try:
        run.wait_for_step(2)
        step = run.last_step
        run.strike(fault)
        return observe(run, step, before)
    finally:
        run.kill()


def on_small_disks(folders: Folders) -> Outcome:
    """Make a run whose fourth checkpoint does not fit on its disk, and whose third dump does not."""
    before = files_left()
    with small_disk(folders.out / "checkpoints", "9m"), small_disk(folders.out / "logs", "256k") as logs:
        run = Run(folders, f"trainer.rollout_data_dir={logs}", "trainer.max_actor_ckpt_to_keep=null", metrics=logs)
        try:
            run.wait_for_step(1)
            list(run.members())  # they are remembered
            return observe(run, run.last_step, before)
        finally:
            run.kill()


def fresh(folder: Path, world: Folders) -> Folders:
    """Return the folders of a new run on the world and the model that are there."""
    folders = Folders(folder)
    folder.mkdir(parents=True)
    for shared in (world.data, world.index, world.model):
        (folder / shared.name).symlink_to(shared)
    return folders


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a disk of that size ("9m"); needs the rights of an administrator."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def make_task(folder: Path) -> Folders:
    """Make the quickstart's world and warm-started model, or find them there."""
    world, quiet = Folders(folder), Console(quiet=True)
    folder.mkdir(parents=True, exist_ok=True)
    make_world(world, SETTINGS, 0, Stages(quiet))
    make_model(world.model, 0)
    return world


def write_page(folder: Path, page: Path) -> None:
    """Write the table of all outcomes in a folder into the page, in the place of the one that is there."""
    words = {
        **{name: fault.words for name, fault in FAULTS.items()},
        DISKS: "the disks of checkpoints and dumps are full",
    }
    rows = [
        _row(words[name], Outcome(**json.loads((folder / f"{name}.json").read_text())))
        for name in words
        if (folder / f"{name}.json").is_file()
    ]
    before, rest = page.read_text().split(HEAD)
    after = rest.lstrip("\n").partition("\n\n")[2]
    page.write_text(f"{before}{HEAD}{''.join(rows)}\n{after}")


def _row(words: str, outcome: Outcome) -> str:
    ended = "goes on" if outcome.ended is None else f"ends after {outcome.ended:.0f} s, status {outcome.status}"
    left = "nothing" if not outcome.leftovers else ", ".join(outcome.leftovers)
    said = outcome.sentences[-1] if outcome.sentences else "nothing of ours"
    short = re.sub(r"(in|resume from) /\S*/(checkpoints)", r"\1 .../\2", said.removeprefix("wapo-verl: "))
    return f"| {words} | {ended} | {html.escape(short, quote=False)} | {left}, after {outcome.cleaned:.0f} s |\n"


def main(
    folder: Annotated[Path, typer.Argument(help="Where runs and outcomes are kept.")],
    names: Annotated[list[str] | None, typer.Argument(help="Faults; all by default.")] = None,
) -> None:
    """Run the faults and write what happened."""
    world = make_task((folder / "world").absolute())
    for name in names or [*FAULTS, DISKS]:
        place = (folder / f"{name}-{time.strftime('%H%M%S')}").absolute()
        folders = fresh(place, world)
        outcome = on_small_disks(folders) if name == DISKS else with_fault(folders, FAULTS[name])
        (folder / f"{name}.json").write_text(json.dumps(asdict(outcome), indent=1))
        print(name, json.dumps(asdict(outcome), indent=1), flush=True)
    write_page(folder, PAGE)


if __name__ == "__main__":
    typer.run(main)
