"""A thread of a run's main process that looks at the run's processes and ends the run where one is lost.

veRL waits without a limit: for an agent loop that has died, for an engine that was to receive weights. The thread asks
nobody anything that a busy process could not answer: it reads Ray's table of actors and the states of processes, on
other machines by an actor of its own. So a long update, a compilation or a model that loads for an hour is no trouble.
"""

import atexit
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

import ray  # before `atexit.register` below: Ray's own work at exit must come after ours
from ray._private.state import state

from wapo_verl.say import say
from wapo_verl.watch.machine import Machine, OtherMachines
from wapo_verl.watch.processes import DIED, SILENT, Trouble, actors_of, lost, run_of

LOOK_EVERY_SECONDS = 2.0
PATIENT_LOOKS = 10
"""How many looks in a row must see a trouble. Meanwhile veRL may end the run by itself, or a user continue it (fg)."""

LAST_LOOKS, LAST_LOOKS_SECONDS = 5, 0.5
"""How often to look at the end of a run on several machines, and how far apart: others take a moment to answer."""

SURE_LOOKS = 3
"""Looks after which a process that is gone or stopped is taken for the reason that veRL has ended the run."""

ANSWER_SECONDS = 1.0
"""How long Ray may take to give its table; without an answer the last one counts."""


class Patience:
    """Counts the looks that have seen each trouble."""

    def __init__(self, looks: int = PATIENT_LOOKS) -> None:
        self._looks = looks
        self._seen: Counter[Trouble] = Counter()

    def see(self, found: Collection[Trouble]) -> Trouble | None:
        """Take what one look found; return the trouble that has lasted too long, None as long as there is none."""
        self._seen = Counter({trouble: self._seen[trouble] + 1 for trouble in found})
        lasting = (trouble for trouble, looks in self._seen.items() if looks >= self._looks)
        return next((trouble for trouble in lasting if trouble.what != SILENT), None)  # Ray judges about machines

    def sure_of(self) -> Trouble | None:
        """Return the trouble that has lasted longest and is no sign of an ordinary end, None without one."""
        at_once = (DIED, SILENT)
        sure = [trouble for trouble, looks in self._seen.items() if trouble.what in at_once or looks >= SURE_LOOKS]
        return max(sure, key=self._seen.__getitem__, default=None)


class Watch(threading.Thread):
    """Looks at the runs that this process starts, one after the other.

    Args:
        last_checkpoint: returns where a run can be resumed, as the end of a sentence.
    """

    def __init__(self, last_checkpoint: Callable[[], str]) -> None:
        super().__init__(name="wapo-verl watch", daemon=True)
        self._last_checkpoint = last_checkpoint
        self._over = threading.Event()
        self._asking: threading.Thread | None = None
        self._forget()

    def _forget(self, cluster: str = "", here: str = "") -> None:
        self._cluster = cluster
        self._here = here
        self._table: dict[str, Any] = {}
        self._patience = Patience()
        self._machine = Machine(here)
        self._others = OtherMachines()
        self._elsewhere: list[Trouble] = []

    def run(self) -> None:
        """Look every other second until this process ends."""
        while not self._over.wait(LOOK_EVERY_SECONDS):
            trouble = self._look()
            if trouble is not None and not self._over.is_set():
                self._end(trouble)

    def _look(self) -> Trouble | None:
        """Look once; return the trouble that has lasted too long."""
        if not ray.is_initialized():
            self._forget()
            return None
        context = ray.get_runtime_context()
        if context.gcs_address != self._cluster:
            self._forget(context.gcs_address, context.get_node_id())
        self._ask()
        actors = run_of(actors_of(self._table))
        if not actors:
            return None
        return self._patience.see([*lost(actors, self._here), *self._machine.look(actors), *self._elsewhere])

    def _ask(self) -> None:
        """Ask Ray for what it knows; not for ever, since Ray's own processes may be what is stopped."""
        if self._asking is None or not self._asking.is_alive():
            self._elsewhere = []
            self._asking = threading.Thread(target=self._read, daemon=True)
            self._asking.start()
        self._asking.join(ANSWER_SECONDS)

    def _read(self) -> None:
        """Read the table of actors, then what is seen on other machines."""
        try:
            job = ray.get_runtime_context().get_job_id()
            self._table = {id: row for id, row in state.actor_table(None).items() if row["JobID"] == job}
            self._elsewhere = self._others.look(run_of(actors_of(self._table)), self._here)
        except (ray.exceptions.RayError, RuntimeError, AttributeError):
            return  # Ray is shutting down

    def _end(self, trouble: Trouble) -> None:
        """Say which process it is, and end this one; what is left of the run is killed then."""
        self._say(trouble)
        self._machine.end(run_of(actors_of(self._table)))
        os._exit(1)

    def _say(self, trouble: Trouble) -> None:
        say(f"the run ends, since {trouble}; {self._last_checkpoint()}", is_error=True)

    def stop(self) -> None:
        """Look for the last time, before Ray shuts down; name the process because of which veRL has ended the run."""
        self._over.set()
        self.join(LOOK_EVERY_SECONDS)
        for looks in range(LAST_LOOKS if self._others.are_there else 1):
            time.sleep(LAST_LOOKS_SECONDS if looks else 0)
            self._look()
            trouble = self._patience.sure_of()
            if trouble is not None:
                self._say(trouble)
                return


_watch: Watch | None = None


def begin(last_checkpoint: Callable[[], str]) -> None:
    """Watch the run that this process is about to start.

    Args:
        last_checkpoint: returns where that run can be resumed, as the end of a sentence.
    """
    global _watch
    if _watch is not None:
        _watch._last_checkpoint = last_checkpoint
        return
    _watch = Watch(last_checkpoint)
    _watch.start()
    atexit.register(_watch.stop)
