"""`wapo-verl try-env NAME`: play one episode by hand, from a file, or as the gold episode."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wapo_verl.cli.one_sentence import one_sentence, options_in
from wapo_verl.cli.row_options import Agent, Settings, Source


def try_env(
    name: Annotated[str, typer.Argument(help="The environment.")],
    row: Annotated[int, typer.Option(help="The row to play, counted from 0.", min=0)] = 0,
    split: Annotated[str | None, typer.Option(help="The row's split; the first by default.")] = None,
    script: Annotated[
        Path | None, typer.Option(help="File with the policy's turns, an empty line after each.", dir_okay=False)
    ] = None,
    gold: Annotated[bool, typer.Option("--gold", help="Let the gold episode play.")] = False,
    index: Annotated[
        str | None,
        typer.Option(
            help="Index to search, a folder or a service's address; by default one of the environment's own documents."
        ),
    ] = None,
    top_k: Annotated[int, typer.Option(help="Passages a search returns.", min=1)] = 3,
    agent: Agent = None,
    source: Source = None,
    set_: Settings = None,
) -> None:
    """Play one episode and see each turn, what a search finds, and every part of the reward.

    Write a turn of the policy and end it with an empty line.
    """
    from rich.console import Console

    from retrieval_index.client import describe
    from wapo_verl.env_tools.episode_at_hand import Game, play
    from wapo_verl.env_tools.row_choice import rows_of

    with one_sentence():
        if script is not None and gold:
            raise ValueError("--script and --gold both say what the policy writes; keep one")
        rows = rows_of(name, source, (split,) if split else (), options_in(set_), agent=agent)
        game = Game.of(rows, row, index, top_k)
        if index:
            describe(index)  # says at once what a search would say after two minutes of attempts
        play(game, Console(), script, gold)
