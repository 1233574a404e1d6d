"""What runs in a worker process of the math verifier; `wapo_verl.environments.math.workers` starts it.

A request is one line of JSON, [gold, answer], on the inherited socket; the reply is one line, the verdict. The first
line it writes says that the imports are done. It ends when the other end is closed, so it does not outlive its parent.

The limit on an answer is CPU time, so that a busy machine does not turn right answers into wrong ones. It is kept by
the kernel: the profiling timer's signal has no handler here and kills the process, inside C code too (a power with
billions of digits never returns to Python). That holds for a worker whose parent is gone as well.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket

READY = "ready"
OUT_OF_MEMORY = 77
"""Exit status of a worker that ran into its memory limit."""


def main(descriptor: int, seconds: float, megabytes: int) -> None:
    """Answer requests until the socket is closed.

    Args:
        descriptor: the socket, inherited.
        seconds: CPU time an answer may take.
        megabytes: address space of the process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
    from wapo_verl.environments.math.algebra import same_expression
    from wapo_verl.environments.math.equivalence import compare

    same_expression(
        r"\frac{x}{2}", r"\frac{\sqrt{4}x}{4}"
    )  # what is made at the first use is not the first answer's to pay
    resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with socket.socket(fileno=descriptor) as connection, connection.makefile("rwb") as stream:
        reply = READY
        while True:
            stream.write(reply.encode() + b"\n")
            stream.flush()
            line = stream.readline()
            if not line:
                return
            gold, answer = json.loads(line)
            signal.setitimer(signal.ITIMER_PROF, seconds)
            try:
                reply = compare(gold, answer, same_expression)
            except MemoryError:
                os._exit(OUT_OF_MEMORY)
            signal.setitimer(signal.ITIMER_PROF, 0)
