"""The file of veRL's file logger, over a resume and on a full disk (`wapo_verl.verl_plugin.patches` calls this)."""

import contextlib
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wapo_verl.say import say_once

_resumed_step = 0


def resumes_at(step: int) -> None:
    """Note the step that this process's run resumes from, 0 for a new run."""
    global _resumed_step
    _resumed_step = step


def metrics_file(project: str, experiment: str) -> Path:
    """Return the file that veRL's file logger writes, named as it names it."""
    given = os.environ.get("VERL_FILE_LOGGER_PATH")
    root = Path(os.environ.get("VERL_FILE_LOGGER_ROOT", ".")).expanduser()
    return Path(given) if given else root / project / f"{experiment}.jsonl"


def kept_lines(file: Path) -> bytes:
    """Return the lines of the steps up to the one that is resumed from; later ones are made again."""
    if not _resumed_step or not file.is_file():
        return b""
    return b"".join(line for line in file.read_bytes().splitlines(keepends=True) if _is_before(line))


def _is_before(line: bytes) -> bool:
    """Tell whether a whole line is of a step that is not made again."""
    try:
        return line.endswith(b"\n") and json.loads(line)["step"] <= _resumed_step
    except (ValueError, KeyError, TypeError):
        return False


def write_whole(logger: Any, write: Callable[[], None]) -> None:
    """Write a line to a logger's file wholly or not at all; what cannot be written is said once.

    Args:
        logger: veRL's file logger, whose file `fp` is not buffered.
        write: writes the line.
    """
    before = logger.fp.tell()
    try:
        write()
        if not _ends_a_line(Path(logger.filepath)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(logger.filepath))
    except OSError as error:
        with contextlib.suppress(OSError):
            logger.fp.seek(before)
            logger.fp.truncate()
        sentence = f"the metrics of a step could not be written, and the run goes on without such lines: {error}"
        say_once("metrics file", sentence)


def _ends_a_line(file: Path) -> bool:
    with file.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"
