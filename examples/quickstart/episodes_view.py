"""Show one held-out question as it was played before and after training, from veRL's validation dumps.

The dumps hold decoded text without the markers of turns, and the scores. An episode is read by the protocol's tags.
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
    """A piece of an episode: the tag around it ("" for text outside of any tag), and its text."""

    tag: str
    text: str


def pieces(output: str) -> list[Piece]:
    """Split a decoded response into pieces, without the role names that the headers of turns leave between them."""
    return [piece for piece in _split(output) if piece.tag or piece.text]


def _split(output: str) -> Iterator[Piece]:
    end = 0
    for block in _BLOCK.finditer(output):
        yield Piece("", _without_role(output[end : block.start()]))
        yield Piece(block.group(1), _one_line(block.group(2)))
        end = block.end()
    yield Piece("", _without_role(output[end:]))


def question(prompt: str) -> str:
    """Return the question of a decoded prompt, without the role names around it."""
    words = prompt.split()
    if words and words[0] == "user":
        words = words[1:]
    if words and words[-1] == "assistant":
        words = words[:-1]
    return " ".join(words)


def read_dump(file: Path) -> list[dict[str, Any]]:
    """Read the samples of a validation, one per line, without those that failed; returns none for a missing file."""
    samples = read_json_lines(file) if file.is_file() else []
    return [sample for sample in samples if not sample.get("failure")]


def changes(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Count the questions that are in both validations by whether they were right before and after."""
    names = {(True, True): "right both times", (False, True): "wrong, then right"}
    names |= {(True, False): "right, then wrong", (False, False): "wrong both times"}
    counts = dict.fromkeys(names.values(), 0)
    for first, second in _paired(before, after):
        counts[names[_right(first), _right(second)]] += 1
    return counts


def choose(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """Choose a question that is in both validations, and return its sample before and after; None where there is none.

    A question that was wrong before and right after is preferred. Of several, the first by the alphabet is taken, so
    that the same dumps always show the same question.
    """
    pairs = sorted(_paired(before, after), key=lambda pair: str(pair[0]["input"]))
    return next((pair for pair in pairs if not _right(pair[0]) and _right(pair[1])), next(iter(pairs), None))


def episode_panel(sample: Mapping[str, Any], title: str) -> Panel:
    """Make a panel of one episode, turn by turn, with the right answer and the reward."""
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
    """Print a question before and after training, and how many of the others changed."""
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
