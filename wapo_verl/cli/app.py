"""Define the command `wapo-verl` and its arguments.

Each command imports what it needs when it runs, so that `wapo-verl --help` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wapo_verl.cli.check_env import check_env
from wapo_verl.cli.compare import compare
from wapo_verl.cli.diagnose import diagnose
from wapo_verl.cli.estimate import estimate
from wapo_verl.cli.evaluate import evaluate
from wapo_verl.cli.new_env import new_env
from wapo_verl.cli.one_sentence import one_sentence
from wapo_verl.cli.rescore import rescore
from wapo_verl.cli.score import score
from wapo_verl.cli.show import show
from wapo_verl.cli.try_env import try_env
from wapo_verl.cli.view import view

app = typer.Typer(
    name="wapo-verl",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(is_asked: bool) -> None:
    if not is_asked:
        return
    from importlib.metadata import version

    from wapo_verl.cli.doctor import installed

    verl = installed("verl")
    typer.echo(f"wapo-verl {version('wapo-verl')}, " + (f"verl {verl}" if verl else "verl is not installed"))
    raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the versions of this package and of veRL.", callback=_print_version)
    ] = False,
) -> None:
    """Winner Advantage Policy Optimization for veRL: check the installation, prepare data, add environments."""


@app.command()
def doctor(
    model: Annotated[
        str | None, typer.Option(help="A model's folder or hub name: check its chat template too.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="key=value of data.apply_chat_template_kwargs, for --model.")
    ] = None,
) -> None:
    """Show what is installed, registered and patched, and a fix for each fault."""
    from wapo_verl.cli.doctor import doctor as run_doctor

    with one_sentence():
        if set_ and model is None:
            raise ValueError("--set is of the chat template of --model: name the model, or leave it out")
    raise typer.Exit(run_doctor(model=model, template_settings=set_ or ()))


@app.command()
def prepare(
    env: Annotated[str, typer.Argument(help="The environment.")],
    out: Annotated[Path, typer.Option(help="Folder to write into.", file_okay=False)],
    source: Annotated[
        str | None,
        typer.Option(help="File or folder with the upstream files, hub, or hf://OWNER/NAME (@REVISION may follow)."),
    ] = None,
    split: Annotated[list[str] | None, typer.Option(help="A split to write; may be repeated. All by default.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many rows of each split.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of a generated world, or of the rows --limit draws.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value, an option of the environment.")] = None,
    drop_overlap: Annotated[
        bool, typer.Option("--drop-overlap", help="Leave questions out of train that another split has.")
    ] = False,
    agent: Annotated[
        str | None, typer.Option(help="The agent loop to write rows for: search_agent or search_tool_agent.")
    ] = None,
) -> None:
    """Write an environment's rows as parquet for veRL, and say what was written."""
    from rich.console import Console

    from wapo_verl.data.prepare import Request, parse_settings, print_written
    from wapo_verl.data.prepare import prepare as run_prepare

    with one_sentence() as errors:
        options = parse_settings(set_ or [])
        request = Request(env, out, source, tuple(split or ()), limit, seed, options, drop_overlap, agent)
        with errors.status(f"preparing {env}") as status:
            written = run_prepare(request, status.update)
        print_written(written, Console())


app.command("eval")(evaluate)
app.command()(compare)
app.command()(rescore)
app.command()(score)
app.command()(new_env)
app.command()(check_env)
app.command()(try_env)
app.command()(estimate)
app.command()(diagnose)
app.command()(view)
app.command()(show)
