"""Run as a script by the process that watches a run on a machine: when that is gone, end what is left and remove files.

It goes on as nobody's child, since Ray kills the children of an actor that ends. It waits at the end of a pipe, which
closes however the watching process ends (kill -9 included). Each line of the pipe is
a JSON object that replaces the one before:

    {"family": [[pid, start], ...], "sockets": "/tmp/rl-colocate-zmq-01000000-10.0.0.1-6379-", "at_once": false,
     "only_stranded": false}

The end of the main process is the end of the run. On another machine the watching process may be lost while the run
goes on: there only what is stranded is killed, and nothing is removed as long as something of the run is alive.

Needs the standard library alone, and Linux's /proc: it starts in 20 ms and has no packages in memory.
"""

import contextlib
import glob
import json
import os
import signal
import sys
import time
from typing import Any

PATIENCE_SECONDS = 10.0
"""How long the processes may take to end by themselves, as they do when Ray shuts down."""

SHARED_MEMORY = "/dev/shm/verl_weights_*"
"""The buffers through which veRL sends weights where there is no CUDA IPC."""

YOUNG_SECONDS = 5.0
"""A buffer younger than this may be one that another run is about to map."""


def start_of(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot, None where there is none: with its id, its identity."""
    fields = _state_of(pid)
    return None if fields is None else int(fields[19])


def is_alive(pid: int, start: int) -> bool:
    """Tell whether the process that started then still runs; one that has ended and was not waited for does not."""
    fields = _state_of(pid)
    return fields is not None and int(fields[19]) == start and fields[0] not in "ZX"


def is_stranded(pid: int) -> bool:
    """Tell whether a process is stopped, or whoever started it is gone: Ray does not end those with their job."""
    fields = _state_of(pid)
    return fields is not None and (fields[0] == "T" or int(fields[1]) == 1)


def _state_of(pid: int) -> list[str] | None:
    """Return what /proc tells of a process behind its name, the letter of its state first, None where there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def end_what_is_left(family: list[tuple[int, int]], patience: float, only_stranded: bool = False) -> bool:
    """Wait for processes to end, and kill those that do not.

    Args:
        family: (process, start) of each.
        patience: seconds to wait.
        only_stranded: whether to leave alone what is not stranded.

    Returns:
        Whether all have ended or were killed.
    """
    deadline = time.monotonic() + patience
    while any(is_alive(*each) for each in family) and time.monotonic() < deadline:
        time.sleep(0.2)
    left = [pid for pid, start in family if is_alive(pid, start)]
    killed = [pid for pid in left if not only_stranded or is_stranded(pid)]
    for pid in killed:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return killed == left


def remove_leftovers(sockets: str) -> None:
    """Remove a run's sockets, and the buffers of weights that no process has in its memory any more."""
    for path in glob.glob(f"{glob.escape(sockets)}*") if sockets else []:
        with contextlib.suppress(OSError):
            os.remove(path)
    left = [path for path in glob.glob(SHARED_MEMORY) if _age(path) > YOUNG_SECONDS]
    mapped = _mapped() if left else ""
    for path in left:
        if os.path.basename(path) not in mapped:
            with contextlib.suppress(OSError):
                os.remove(path)


def _age(path: str) -> float:
    try:
        return time.time() - os.stat(path).st_mtime
    except FileNotFoundError:
        return 0.0


def _mapped() -> str:
    """Return the names of the buffers of weights that processes have in their memory."""
    found = []
    for file in glob.glob("/proc/[0-9]*/maps"):
        try:
            with open(file, errors="replace") as lines:
                found += [line for line in lines if "verl_weights_" in line]
        except OSError:
            continue
    return "".join(found)


def main() -> None:
    """Leave the process that started this one, wait for the end of the pipe, then clean up."""
    if os.fork():
        os._exit(0)
    os.setsid()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    known: dict[str, Any] = {}
    for line in sys.stdin:
        with contextlib.suppress(ValueError):  # the last line may be cut
            known = json.loads(line)
    family = [(int(pid), int(start)) for pid, start in known.get("family", [])]
    patience = 0.0 if known.get("at_once") else PATIENCE_SECONDS
    if not end_what_is_left(family, patience, bool(known.get("only_stranded"))):
        return
    if glob.glob(SHARED_MEMORY):
        time.sleep(YOUNG_SECONDS)  # then those of this run are old enough
    remove_leftovers(str(known.get("sockets", "")))


if __name__ == "__main__":
    main()
