"""Which processes a run has, and how they are: from Ray's table of actors, and from a machine's own processes.

The actors of a run are its task runner and what that made (workers, rollout servers, agent loops, reward workers,
storage). An engine is a process below a rollout server, no actor. Actors that a user's reward or tool made are not
looked at: whoever made them knows what their death means.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

ENGINES = ("VLLM::", "sglang::")
"""How the titles of an engine's processes begin."""

RAY_ITSELF = ("gcs_server", "raylet")
"""Ray's own processes, without which a cluster is none."""

DIED, GONE, STOPPED, SILENT = "has died", "is gone", "is stopped", "does not answer"

_LOST = ("WORKER_DIED", "NODE_DIED")
"""Ray's reasons for a death that are no decision of anybody's; the first also stands for an actor's own wish."""


@dataclass(frozen=True, slots=True)
class Actor:
    """One of Ray's actors.

    Attributes:
        name: of its class.
        pid: of its process.
        node: hexadecimal id of the machine.
        address: (host, port) of its process.
        owner: that of the process that made it.
        started: when, in milliseconds.
        is_over: whether it has ended in any way.
        has_died: whether it has ended though nobody ended it.
    """

    name: str
    pid: int
    node: str
    address: tuple[str, int]
    owner: tuple[str, int]
    started: int
    is_over: bool
    has_died: bool


@dataclass(frozen=True, slots=True)
class Engine:
    """A process of an inference engine, below the process of its server.

    Attributes:
        name: what it is called in a sentence.
        server: the server's process.
    """

    name: str
    server: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with a process of a run, or with a machine.

    Attributes:
        process: what it is called in a sentence.
        pid: its id, on its own machine; 0 where it is the machine itself.
        what: one of `DIED`, `GONE`, `STOPPED`, `SILENT`.
        machine: its address, "" for that of the main process.
    """

    process: str
    pid: int
    what: str
    machine: str = ""

    def __str__(self) -> str:
        if not self.pid:
            return f"{self.process} {self.machine} {self.what}"
        where = f" of {self.machine}" if self.machine else ""
        return f"{self.process} (process {self.pid}{where}) {self.what}"


def actors_of(table: Mapping[str, Mapping[str, Any]]) -> list[Actor]:
    """Read Ray's table of actors, as `ray._private.state.state.actor_table(None)` returns it."""
    return [
        Actor(
            name=str(row["ActorClassName"]).rpartition(".")[2],  # veRL makes its workers' classes in functions
            pid=int(row["Pid"]),
            node=str(row["Address"]["NodeID"]),
            address=(row["Address"]["IPAddress"], int(row["Address"]["Port"])),
            owner=(row["OwnerAddress"]["IPAddress"], int(row["OwnerAddress"]["Port"])),
            started=int(row["StartTime"]),
            is_over=row["State"] == "DEAD",
            has_died=row["State"] == "DEAD" and was_lost(row["DeathCause"]),
        )
        for row in table.values()
    ]


def was_lost(cause: Any) -> bool:
    """Tell whether an actor's process was lost: nobody ended it, its owner included, and neither did it itself.

    Args:
        cause: Ray's `ActorDeathCause`.
    """
    died = cause.actor_died_error_context
    reason = type(died).DESCRIPTOR.fields_by_name["reason"].enum_type.values_by_number[died.reason].name
    return reason in _LOST and "INTENDED" not in died.error_message


def run_of(actors: Sequence[Actor]) -> list[Actor]:
    """Return the newest task runner, in which veRL's trainer runs, and what its process made; nothing without one."""
    runners = [actor for actor in actors if "TaskRunner" in actor.name]
    if not runners:
        return []
    runner = max(runners, key=lambda actor: actor.started)
    return [runner, *(actor for actor in actors if actor.owner == runner.address and actor != runner)]


def engines_below(actors: Sequence[Actor], here: str) -> dict[int, Engine]:
    """Return the engines of a run's servers on this machine, by process.

    Args:
        actors: the run's.
        here: the id of this machine.
    """
    return {
        child.pid: Engine(f"{title} of {actor.name}", actor.pid)
        for actor in actors
        if actor.node == here and not actor.is_over
        for child in descendants(actor.pid)
        if (title := title_of(child)).startswith(ENGINES)
    }


def ray_itself() -> dict[int, str]:
    """Return Ray's own processes that this process started, or that started it, by id."""
    this = psutil.Process()
    near = [each for each in (*this.children(), this.parent()) if each is not None]
    return {each.pid: name for each in near if (name := _name(each)) in RAY_ITSELF}


def family(actors: Sequence[Actor], here: str, engines: Iterable[int]) -> set[int]:
    """Return every process of a run on this machine: Ray's that this process started, actors, engines.

    Args:
        actors: the run's.
        here: the id of this machine.
        engines: the processes of the engines that `engines_below` finds now.
    """
    own = {child.pid for child in descendants(None) if is_rays(child)}
    return own | {actor.pid for actor in actors if actor.node == here and not actor.is_over} | {*engines}


def lost(actors: Iterable[Actor], here: str) -> list[Trouble]:
    """Return the actors of a run that have died, on whatever machine.

    Args:
        actors: the run's.
        here: the id of the main process's machine.
    """
    return [
        Trouble(actor.name, actor.pid, DIED, "" if actor.node == here else actor.address[0])
        for actor in actors
        if actor.has_died
    ]


def troubles(
    actors: Sequence[Actor], here: str, engines: Mapping[int, Engine], ray: Mapping[int, str]
) -> Iterator[Trouble]:
    """Yield what is wrong with the processes of a run on this machine.

    Args:
        actors: the run's, the task runner first.
        here: the id of this machine, whose processes can be looked at.
        engines: every engine that was seen here, by process.
        ray: Ray's own processes that were seen here, by id.
    """
    for pid, name in ray.items():
        yield from _seen(f"Ray's {name}", pid)
    if actors[0].is_over:
        return
    for actor in actors:
        if not actor.is_over and actor.node == here:
            yield from (trouble for trouble in _seen(actor.name, actor.pid) if trouble.what == STOPPED)
    servers = {actor.pid for actor in actors if not actor.is_over}
    for pid, engine in engines.items():
        if engine.server in servers:
            yield from _seen(engine.name, pid)


def _seen(name: str, pid: int) -> Iterator[Trouble]:
    """Yield the trouble with a process of this machine, if any; one that a debugger holds is not stopped."""
    try:
        status = psutil.Process(pid).status()
    except psutil.Error:
        status = psutil.STATUS_ZOMBIE
    if status in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
        yield Trouble(name, pid, STOPPED if status == psutil.STATUS_STOPPED else GONE)


def descendants(pid: int | None) -> list[psutil.Process]:
    """Return the processes below one, this one by default; none where it is gone."""
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.Error:
        return []


def is_running(process: psutil.Process) -> bool:
    """Tell whether a process runs; one that has ended and was not waited for does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def title_of(process: psutil.Process) -> str:
    """Return the first word of a process's command line, which Ray and vLLM replace; "" where it is gone."""
    return next(iter(command_of(process)), "")


def is_rays(process: psutil.Process) -> bool:
    """Tell whether a process is one of Ray's, or of an engine that Ray's started."""
    command = command_of(process)
    return bool(command) and (
        command[0].startswith(("ray::", *ENGINES)) or any("/ray/" in word for word in command[:3])
    )


def command_of(process: psutil.Process) -> list[str]:
    """Return the words of a process's command line; none where it is gone."""
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""
