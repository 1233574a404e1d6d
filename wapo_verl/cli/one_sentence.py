"""Turn a user's mistake into one sentence on stderr and exit status 1, and read `--set`, for all commands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def one_sentence() -> Iterator[Console]:
    """Yield a console on stderr; print an error that the user can fix as one sentence on it, and exit with status 1."""
    from rich.console import Console

    from retrieval_index.errors import RetrievalError

    errors = Console(stderr=True)
    try:
        yield errors
    except SyntaxError as error:
        line = f"{error.filename}, line {error.lineno}: {error.msg}"
        errors.print(f"error: {line}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    except (ValueError, OSError, ImportError, RetrievalError) as error:
        errors.print(f"error: {_said(error)}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error


def _said(error: Exception) -> str:
    """Return an error's sentence; of one that the system raised, the file and the reason without its number."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"


def options_in(settings: Sequence[str] | None) -> dict[str, str]:
    """Turn `["key=value", ...]` into a dict; raises ValueError as `prepare` does."""
    if not settings:
        return {}  # without the import, which takes longer than many a check
    from wapo_verl.data.prepare import parse_settings

    return parse_settings(settings)
