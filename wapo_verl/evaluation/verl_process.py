"""veRL as a process of its own: its settings on the command line, its end, and what its output says of a failure."""

from __future__ import annotations

import contextlib
import re
import subprocess

import psutil

from wapo_verl.watch.processes import descendants

END_SECONDS = 20.0

_PLAIN = re.compile(r"[\w./+:@-]+")
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_SOURCE = re.compile(r"^\([\w ]*pid=\d+[^)]*\)\s?")
_ERROR = re.compile(r"^(?:[\w.]*\.)?\w*(?:Error|Exception|Interrupt|Exit)\b(?:\(.*\))?: .+")


def override_key(override: str) -> str:
    """Return the key of a Hydra override: `+a.b=1` -> `a.b`.

    Raises:
        ValueError: for a text that is no override.
    """
    found = re.match(r"(?:\+\+?|~)?([\w./@-]+)", override)
    if not found or ("=" not in override and not override.startswith("~")):
        raise ValueError(
            f"{override!r} is no override for veRL; write key=value, as in trainer.total_training_steps=20"
        )
    return found.group(1)


def hydra_value(value: object) -> str:
    """Write a value as Hydra's override grammar reads it: quoted where it has more than plain characters."""
    text = str(value)
    if isinstance(value, list):
        return "[" + ",".join(hydra_value(item) for item in value) + "]"
    if _PLAIN.fullmatch(text):
        return text
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)  # before a quote, and there alone, Hydra reads backslashes as escapes
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f"'{escaped}'"


def end_family(process: subprocess.Popen[bytes], patience: float = END_SECONDS) -> None:
    """Ask a process to end, wait, and kill it and the processes it started where that is not enough.

    Args:
        process: the process.
        patience: seconds to wait for it, and then for the processes it started.
    """
    family = descendants(process.pid)
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(family, timeout=patience)
    for child in alive:
        with contextlib.suppress(psutil.NoSuchProcess):  # it may end just now
            child.kill()
    psutil.wait_procs(alive, timeout=patience)


def plain(line: str) -> str:
    """Return a line of the log without colours and without the name of the Ray process that wrote it."""
    return _SOURCE.sub("", _COLOURS.sub("", line)).rstrip()


def last_errors(log: str, errors: int = 4, lines: int = 12) -> list[str]:
    """Return the last different errors of a failed run's log, then its last lines, each once."""
    cleaned = [line for line in map(plain, re.split(r"[\r\n]+", log)) if line]
    named = list(dict.fromkeys(line for line in reversed(cleaned) if _ERROR.match(line)))[:errors]
    return list(dict.fromkeys([*reversed(named), *cleaned[-lines:]]))
