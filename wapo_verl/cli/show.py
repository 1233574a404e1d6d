"""`wapo-verl show`: episodes of a run in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wapo_verl.cli.one_sentence import one_sentence

if TYPE_CHECKING:
    from rich.console import Console


def show(
    path: Annotated[Path, typer.Argument(help="The folder of a run or of an evaluation, or a file of records.")],
    step: Annotated[int | None, typer.Option(help="The step; the last by default.")] = None,
    records: Annotated[str | None, typer.Option("--set", help="Which records, such as rollouts or validation.")] = None,
    worst: Annotated[
        int | None, typer.Option(min=1, help="So many completions with the lowest reward; 3 by default.")
    ] = None,
    best: Annotated[int | None, typer.Option(min=1, help="So many completions with the highest reward.")] = None,
    question: Annotated[str | None, typer.Option(help="Only prompts that hold this text.")] = None,
) -> None:
    """Print episodes of a run: question, turns, searches, answer and reward."""
    from rich.console import Console

    from wapo_verl.viewer import completions
    from wapo_verl.viewer.completions import StepReader
    from wapo_verl.viewer.runs import ViewError, open_run

    with one_sentence():
        if worst and best:
            raise ViewError("keep one of --worst and --best: they say which completions are printed")
        run = open_run(path)
        name, chosen = run.chosen(records, step)
        read = StepReader().read(run.records(name).file(chosen))
        read.refuse_none()
        found = [completions.detail(line, place) for place, line in enumerate(read.lines)]
        found = [each for each in found if question is None or question.lower() in each["question"].lower()]
        if not found:
            raise ViewError(f"no prompt of {name} step {chosen} holds {question!r}")
    found.sort(key=lambda each: each["score"] or 0.0, reverse=best is not None)
    found.sort(key=lambda each: each["score"] is None)  # failed episodes are neither best nor worst
    console = Console()
    for each in found[: best or worst or 3]:
        _print(each, f"{name} step {chosen}", console)


def _print(each: dict[str, Any], where: str, console: Console) -> None:
    from rich.panel import Panel
    from rich.text import Text

    body = Text()
    body.append("question: ", "bold").append(printable(each["question"]) + "\n")
    for turn in each["turn_texts"]:
        body.append(printable(turn["text"]), "dim" if turn["role"] == "environment" else "").append("\n")
    if each["answers"]:
        body.append(f"right: {printable(' | '.join(each['answers']))}", "green")
    if each["missed"]:
        body.append(f"\nmissed documents: {printable(', '.join(each['missed']))}", "red")
    parts = ", ".join(f"{name} {value:g}" for name, value in each["parts"].items())
    reward = "none" if each["score"] is None else f"{each['score']:g}"
    outcome = f", {each['outcome']}" if each["outcome"] else ""  # an episode of one turn has none
    ended = f"failed ({each['failure']})" if each["failure"] else f"reward {reward}{outcome}"
    title = printable(f"{where}: {ended}")
    console.print(Panel(body, title=Text(title), subtitle=Text(printable(parts))))


def printable(text: str) -> str:
    """Return a text without control characters, which could move a terminal's cursor or change its colours."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"<{ord(c):x}>" for c in text)
