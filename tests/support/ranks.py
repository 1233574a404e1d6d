"""Runs a script as the ranks of one process group over gloo on this machine, and the tiny model they train."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from support.ports import free_port

TESTS = Path(__file__).parents[1]


def run_ranks(script: Path, arguments: Sequence[str], ranks: int, timeout_s: float = 400) -> None:
    """Start `ranks` processes of `script`, which may import `support`, and wait for them.

    Raises:
        AssertionError: where one fails; the message is the end of what it said.
    """
    shared = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(ranks),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), *arguments],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=timeout_s)
        assert process.returncode == 0, errors[-3000:]


def write_tiny_model(folder: Path) -> Path:
    """Write the quickstart's untrained model and its tokenizer into `folder`; return it."""
    from examples.quickstart.model import make_model
    from examples.quickstart.tokenizer import make_tokenizer

    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    make_model(tokenizer, seed=0).save_pretrained(folder)
    return folder
