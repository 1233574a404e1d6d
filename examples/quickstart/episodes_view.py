"""One held-out question played before training and after it, side by side in time, from veRL's validation dumps.

The dumps hold decoded text without the turns' markers; the protocol's tags are in it, and an episode is read by them.
Left out: scoring, which veRL's dump brings along.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from wapo_verl.data.json_lines import read_json_lines

_BLOCK = re.compile(r"<(think|search|answer|information)>(.*?)</\1>", re.DOTALL)
_ROLES = frozenset({"system", "user", "assistant", "tool"})
_SHOWN_AS = {"think": "thinks", "search": "searches", "information": "reads", "answer": "answers", "": "writes"}
_STYLES = {"search": "cyan", "information": "dim", "answer": "bold", "": "yellow"}


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of an episode: the tag it stood in, or "" for text outside of any tag, and its text."""

    tag: str
    text: str


def pieces(output: str) -> list[Piece]:
    """The decoded response in its pieces, without the role names that its turns' headers left between them."""
    return [piece for piece in _split(output) if piece.tag or piece.text]


def _split(output: str) -> Iterator[Piece]:
    end = 0
    for block in _BLOCK.finditer(output):
        yield Piece("", _without_role(output[end : block.start()]))
        yield Piece(block.group(1), _one_line(block.group(2)))
        end = block.end()
    yield Piece("", _without_role(output[end:]))


def question(prompt: str) -> str:
    """The question in a decoded prompt, without the names of the roles around it."""
    words = prompt.split()
    if words and words[0] == "user":
        words = words[1:]
    if words and words[-1] == "assistant":
        words = words[:-1]
    return " ".join(words)


def read_dump(file: Path) -> list[dict[str, Any]]:
    """The samples of a validation, one a line; none for a file that is not there."""
    return read_json_lines(file) if file.is_file() else []


def changes(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many questions of both were right in both, came right, went wrong, or were wrong in both."""
    names = {(True, True): "right both times", (False, True): "wrong, then right"}
    names |= {(True, False): "right, then wrong", (False, False): "wrong both times"}
    counts = dict.fromkeys(names.values(), 0)
    for first, second in _paired(before, after):
        counts[names[_right(first), _right(second)]] += 1
    return counts


def choose(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """A question's sample before and after: one that came right where there is one, else any; None if none is in both.

    Of several the first by the alphabet, so that the same dumps always show the same one.
    """
    pairs = sorted(_paired(before, after), key=lambda pair: str(pair[0]["input"]))
    return next((pair for pair in pairs if not _right(pair[0]) and _right(pair[1])), next(iter(pairs), None))


def episode_panel(sample: Mapping[str, Any], title: str) -> Panel:
    """One episode, turn by turn, with the right answer and the reward."""
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("question", Text(question(str(sample["input"]))))
    for piece in pieces(str(sample["output"])):
        table.add_row(_SHOWN_AS[piece.tag], Text(piece.text or "(nothing)", style=_STYLES.get(piece.tag, "")))
    table.add_row("right answer", Text(", ".join(_answers(sample.get("gts")))))
    score = float(sample["score"])
    table.add_row("reward", Text(f"{score:g}", style="bold green" if _right(sample) else "bold red"))
    return Panel(table, title=title, title_align="left")


def show(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]], console: Console) -> None:
    """A question before and after, and how the others changed."""
    pair = choose(before, after)
    if pair is None:
        console.print("no held-out question was played both before and after training, so no episode is shown")
        return
    console.print(episode_panel(pair[0], f"before training (step {pair[0]['step']})"))
    console.print(episode_panel(pair[1], f"after training (step {pair[1]['step']})"))
    counted = ", ".join(f"{count} {name}" for name, count in changes(before, after).items())
    console.print(f"of the held-out questions: {counted}", highlight=False, soft_wrap=True)


def _paired(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    later = {sample["input"]: sample for sample in after}
    return [(sample, later[sample["input"]]) for sample in before if sample["input"] in later]


def _right(sample: Mapping[str, Any]) -> bool:
    return float(sample.get("exact_match", sample["score"])) >= 1.0


def _answers(truth: Any) -> list[str]:
    return [str(answer) for answer in truth["answers"]] if isinstance(truth, Mapping) else [str(truth)]


def _without_role(text: str) -> str:
    words = text.split()
    return " ".join(words[1:] if words and words[0] in _ROLES else words)


def _one_line(text: str) -> str:
    return " ".join(text.split())
