"""The command ``wapo-verl``: only the arguments are here, each command's work is imported when it runs.

Nothing heavy is imported at the top, so that ``wapo-verl --help`` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="wapo-verl",
    help="Winner Advantage Policy Optimization for veRL: check the installation, prepare data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def doctor() -> None:
    """Say what is installed, registered and patched, and a mend for each thing that is wrong."""
    from wapo_verl.doctor import doctor as run_doctor

    raise typer.Exit(run_doctor())


@app.command()
def prepare(
    env: Annotated[str, typer.Argument(help="The environment: a folder's name under envs/.")],
    out: Annotated[Path, typer.Option(help="Folder to write into.", file_okay=False)],
    source: Annotated[Path | None, typer.Option(help="File or folder with the upstream files.")] = None,
    split: Annotated[list[str] | None, typer.Option(help="A split to write; may be repeated. All by default.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many rows of each split.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of a generated world, or of the rows --limit draws.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value, an option of the environment.")] = None,
) -> None:
    """Write an environment's rows as parquet for veRL, and say what was written."""
    from rich.console import Console

    from wapo_verl.prepare import Request, parse_settings, print_written
    from wapo_verl.prepare import prepare as run_prepare

    errors = Console(stderr=True)
    try:
        request = Request(env, out, source, tuple(split or ()), limit, seed, parse_settings(set_ or []))
        with errors.status(f"preparing {env}") as status:
            written = run_prepare(request, status.update)
        print_written(written, Console())
    except (ValueError, OSError) as error:
        errors.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    app()
