"""One machine of a run: what is wrong with the run's processes there, and who cleans up behind them.

The main process looks at its own machine itself. On each other machine of the run an actor does, since nobody else can
see there that a process is stopped.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from wapo_verl.say import say
from wapo_verl.watch import reaper
from wapo_verl.watch.processes import SILENT, Actor, Engine, Trouble, engines_below, family, ray_itself, troubles


class Machine:
    """Looks at the processes of a run on the machine where it is.

    Args:
        node: Ray's id of this machine.
        name: the address to name it by, "" for the main process's machine.
    """

    def __init__(self, node: str, name: str = "") -> None:
        self._node = node
        self._name = name
        self._engines: dict[int, Engine] = {}
        self._ray: dict[int, str] = {}
        self._reaper: subprocess.Popen[str] | None = None
        self._told: dict[str, Any] = {}

    def look(self, actors: Sequence[Actor]) -> list[Trouble]:
        """Return what is wrong here, and remember which processes there are to clean up."""
        engines = engines_below(actors, self._node)
        self._engines |= engines
        self._ray |= ray_itself()
        self._tell(actors, engines)
        found = troubles(actors, self._node, self._engines, self._ray)
        return [replace(trouble, machine=self._name) for trouble in found]

    def end(self, actors: Sequence[Actor]) -> None:
        """Have what is left of the run here killed as soon as this process is gone."""
        self._tell(actors, engines_below(actors, self._node), at_once=True)

    def _tell(self, actors: Sequence[Actor], engines: Mapping[int, Engine], at_once: bool = False) -> None:
        """Tell the process that cleans up behind this one what there is to clean up."""
        members = {
            pid: start for pid in family(actors, self._node, engines) if (start := reaper.start_of(pid)) is not None
        }
        news = {
            "family": sorted(members.items()),
            "sockets": _sockets(),
            "at_once": at_once,
            "only_stranded": bool(self._name),
        }
        if news == self._told:
            return
        if self._reaper is None:
            self._reaper = _start_reaper()
        assert self._reaper.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it was killed: then nobody cleans up, and the run goes on
            self._reaper.stdin.write(json.dumps(news) + "\n")
            self._reaper.stdin.flush()
        self._told = news


def _start_reaper() -> subprocess.Popen[str]:
    """Start the process that cleans up; what is returned has ended, and holds the pipe to the one that goes on."""
    nowhere = subprocess.DEVNULL
    started = subprocess.Popen(
        [sys.executable, "-I", "-S", reaper.__file__], stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere, text=True
    )
    started.wait()
    return started


def _sockets() -> str:
    """Return how the names of this run's sockets begin (`wapo_verl.verl_plugin.patches` names them)."""
    context = ray.get_runtime_context()
    return f"/tmp/rl-colocate-zmq-{context.get_job_id()}-{context.gcs_address.replace(':', '-')}-"


class OtherMachines:
    """Looks at the other machines of a run, by an actor of this job on each.

    Where that actor is lost, its machine is looked at no more. A machine that is lost needs no look: it is silent, and
    soon its actors are dead in Ray's table.
    """

    def __init__(self) -> None:
        self._lookouts: dict[str, Any] = {}
        self._answers: dict[str, Any] = {}
        self._lost: set[str] = set()

    def look(self, actors: Sequence[Actor], here: str) -> list[Trouble]:
        """Return what was wrong there at the last look, of the machines that have answered since; ask for the next.

        Args:
            actors: the run's.
            here: the id of this machine.

        Raises:
            ray.exceptions.RayError: where Ray is shutting down.
        """
        asked = {answer: node for node, answer in self._answers.items()}
        ready = ray.wait(list(asked), num_returns=len(asked), timeout=0)[0] if asked else []
        found = [trouble for answer in ready for trouble in self._take(asked[answer], actors)]
        for actor in actors:
            if actor.node not in {here, *self._lost, *self._answers} and not actor.is_over:
                lookout = self._lookout(actor.node, actor.address[0])
                self._answers[actor.node] = lookout.look.remote(actors)
        return found

    def _lookout(self, node: str, address: str) -> Any:
        if node not in self._lookouts:
            there = NodeAffinitySchedulingStrategy(node, soft=False)
            remote = ray.remote(num_cpus=0, scheduling_strategy=there)(Machine)
            self._lookouts[node] = remote.remote(node, address)
        return self._lookouts[node]

    def _take(self, node: str, actors: Sequence[Actor]) -> list[Trouble]:
        """Return a machine's answer; nothing of one whose actor alone is lost, which is said."""
        alive = {actor.node: actor.address[0] for actor in actors if not actor.is_over}
        try:
            answer: list[Trouble] = ray.get(self._answers.pop(node))
        except ray.exceptions.ActorUnavailableError:
            return [Trouble("the machine", 0, SILENT, alive[node])] if node in alive else []
        except ray.exceptions.RayActorError as error:
            self._lost.add(node)
            if node in alive:
                reason = str(error).strip().splitlines()[-1].strip()
                say(f"a process that is stopped on {alive[node]} is not seen any more: {reason}", is_error=True)
            return []
        return answer

    @property
    def are_there(self) -> bool:
        """Whether the run has other machines."""
        return bool(self._lookouts)
