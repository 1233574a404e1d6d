"""The main process of a run without Ray: real processes with titles, a table of actors in a file, the watch over them.

Run as a script: the table's file, then the titles of the processes to start. Prints the processes, then waits for ever.
`ray` is replaced by what the watch asks of it; looks come every 20 ms.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace


def stand_in(table: Path) -> None:
    """Put a `ray` in place that reads its table from a file."""
    names = ("ray", "ray._private", "ray._private.state", "ray.util", "ray.util.scheduling_strategies")
    ray, _, state, _, strategies = modules = [ModuleType(name) for name in names]
    strategies.__dict__["NodeAffinitySchedulingStrategy"] = None  # for several machines alone
    context = SimpleNamespace(get_job_id=lambda: "01", get_node_id=lambda: "here", gcs_address="10.0.0.1:1")
    ray.__dict__.update(
        is_initialized=lambda: True,
        get_runtime_context=lambda: context,
        exceptions=SimpleNamespace(RayError=OSError),
    )

    def actor_table(_: None) -> dict[str, dict]:
        rows = json.loads(table.read_text()) if table.exists() else []
        return {str(number): row_of(**row) for number, row in enumerate(rows)}

    state.__dict__["state"] = SimpleNamespace(actor_table=actor_table)
    sys.modules.update(zip(names, modules, strict=True))


def row_of(name: str, pid: int) -> dict:
    """A row of Ray's table, of an actor that lives; the task runner made the others."""
    runner = name == "TaskRunnerV1"
    return {
        "ActorClassName": name,
        "Pid": pid,
        "JobID": "01",
        "State": "ALIVE",
        "StartTime": 1,
        "DeathCause": None,
        "Address": {"IPAddress": "h", "Port": 1 if runner else pid, "NodeID": "here"},
        "OwnerAddress": {"IPAddress": "h", "Port": 0 if runner else 1, "NodeID": "here"},
    }


def main(table: str, *titles: str) -> None:
    """Start the processes, watch them, and wait as a main process waits for its run."""
    stand_in(Path(table))
    from wapo_verl.watch import watch

    watch.LOOK_EVERY_SECONDS = 0.02
    nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = [subprocess.Popen([title, "60"], executable="/bin/sleep", **nowhere) for title in titles]
    rows = [{"name": "TaskRunnerV1", "pid": os.getpid()}]
    actors = [pair for pair in zip(titles, started, strict=True) if pair[0].startswith("ray::")]
    rows += [{"name": title.removeprefix("ray::"), "pid": process.pid} for title, process in actors]
    Path(table).write_text(json.dumps(rows))
    watch.begin(lambda: "step 8 is whole")
    print(json.dumps([process.pid for process in started]), flush=True)
    time.sleep(60)


if __name__ == "__main__":
    main(*sys.argv[1:])
