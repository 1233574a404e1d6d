"""One step of a run as the page shows it: groups of completions, one completion, and where two of them part.

A step is one file, so nothing beyond it is read, and no index is needed: 256 completions of 2,000 tokens are parsed in
a fraction of a second. The last few steps stay parsed, without their tokens, which are by far the most: those are read
again, from their place in the file, for the one completion that is shown.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec
import orjson
from cachetools import LRUCache

from wapo_verl.data.episode_record import (
    as_list,
    as_mapping,
    as_number,
    gold_documents,
    group_key,
    returned_documents,
    reward_parts,
)
from wapo_verl.data.question_index import question_id, question_text
from wapo_verl.viewer.runs import ViewError
from wapo_verl.viewer.samples import as_record, is_sample

KEPT_STEPS = 8
"""Parsed files that stay in memory."""

_OF_A_COMPLETION = {"input", "output", "score", "scores", "uid"}
"""Keys of which every completion's line has one: of this project's records, veRL's dumps and `wapo-verl eval`."""


@dataclass(frozen=True, slots=True)
class Step:
    """The completions of one file.

    Attributes:
        file: where they are.
        lines: as they were written, in the file's order, without `tokens`.
        places: the bytes at which the lines begin.
        cut: whether the last line was broken off (a writer that was killed, or is at work) and left out.
    """

    file: Path
    lines: tuple[Mapping[str, Any], ...]
    places: tuple[int, ...]
    cut: bool

    def refuse_none(self) -> None:
        """Raise ViewError where there is no completion."""
        if not self.lines:
            raise ViewError(f"{self.file} holds no {'whole ' if self.cut else ''}completion")

    def whole(self, place: int) -> Mapping[str, Any]:
        """Return a line with its tokens, read again; without them where the file has changed meanwhile."""
        with self.file.open("rb") as file:
            file.seek(self.places[place])
            line = file.readline()
        try:
            read = _decoded(line)
        except (ValueError, RecursionError):
            return self.lines[place]
        if not isinstance(read, dict):
            return self.lines[place]
        read = _as_completion(read, self.file)
        return read if read.get("uid") == self.lines[place].get("uid") else self.lines[place]


class StepReader:
    """Reads files of records, and keeps the last ones parsed."""

    def __init__(self) -> None:
        self._steps: LRUCache[tuple[Path, int, int], Step] = LRUCache(KEPT_STEPS)
        self._lock = Lock()

    def read(self, file: Path) -> Step:
        """Return the completions of a file.

        Raises:
            ViewError: when the file is not there, or a line other than the last is no JSON object.
        """
        try:
            state = file.stat()
        except OSError as error:
            raise ViewError(f"{file} is not there (any more)") from error
        key = (file, state.st_mtime_ns, state.st_size)
        with self._lock:
            kept = self._steps.get(key)
        if kept is not None:
            return kept
        step = read_step(file)
        with self._lock:
            self._steps[key] = step
        return step


def read_step(file: Path) -> Step:
    """Return the completions of a file.

    Raises:
        ViewError: when a line other than the last is no JSON object, or is none of a completion.
    """
    lines: list[Mapping[str, Any]] = []
    places: list[int] = []
    place = 0
    with file.open("rb") as opened:
        for number, line in enumerate(opened, start=1):
            begins, place = place, place + len(line)
            if not line.strip():
                continue
            try:
                value = _without_tokens(line)
            except (ValueError, RecursionError) as error:
                if not line.endswith(b"\n"):
                    return Step(file, tuple(lines), tuple(places), cut=True)
                raise ViewError(f"{file}, line {number}, is not JSON ({error})") from error
            if not isinstance(value, dict):
                raise ViewError(f"{file}, line {number}, is not a record but {type(value).__name__}")
            if not _OF_A_COMPLETION & value.keys():
                raise ViewError(f"{file}, line {number}, is no completion: its keys are {', '.join(value) or 'none'}")
            lines.append(_as_completion(value, file))
            places.append(begins)
    return Step(file, tuple(lines), tuple(places), cut=False)


def _as_completion(line: Mapping[str, Any], file: Path) -> Mapping[str, Any]:
    return as_record(line, file) if is_sample(line) else line


def _without_tokens(line: bytes) -> Any:
    """Decode a line but for its `tokens`, which are passed over and not built."""
    try:
        values = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        return {key: orjson.loads(bytes(value)) for key, value in values.items() if key != "tokens"}
    except ValueError:  # msgspec's errors are such, too
        value = _decoded(line)
        return {key: value[key] for key in value if key != "tokens"} if isinstance(value, dict) else value


def _decoded(line: bytes) -> Any:
    """Decode a line as `json` does, which takes NaN; bytes that are no UTF-8 become replacement characters."""
    try:
        return orjson.loads(line)
    except ValueError:
        return json.loads(line.decode("utf-8-sig", "replace"))


def key_of(line: Mapping[str, Any], place: int) -> str:
    """Return a completion's name within its step."""
    uid = line.get("uid")
    return str(uid) if uid is not None else f"line-{place}"


def summary(line: Mapping[str, Any], place: int) -> dict[str, Any]:
    """Return what a cell of the page needs of a completion."""
    episode = as_mapping(line.get("episode"))
    queries = as_list(episode.get("queries"))
    gold, missed = gold_documents(line)
    return {
        "key": key_of(line, place),
        "score": as_number(line.get("score")),
        "advantage": as_number(line.get("advantage")),
        "parts": reward_parts(line),
        "failure": line.get("failure") if isinstance(line.get("failure"), str) else None,
        "outcome": episode.get("outcome"),
        "answer": episode.get("answer"),
        "turns": episode.get("turns"),
        "searches": len(queries) if episode else None,
        "tokens": line.get("token_count"),
        "gold": len(gold),
        "missed": missed,
        "documents": sorted(returned_documents(episode)),
    }


def groups(step: Step) -> list[dict[str, Any]]:
    """Return a step's groups, each with its question and the summaries of its completions, in the file's order."""
    made: dict[str, dict[str, Any]] = {}
    for place, line in enumerate(step.lines):
        name = group_key(line, place)
        if name not in made:
            prompt = str(line.get("input", ""))
            about = {"group": name, "question": prompt, "id": question_id(prompt), "answers": answers(line)}
            made[name] = {**about, "completions": []}
        made[name]["completions"].append(summary(line, place))
    return list(made.values())


def group(step: Step, name: str) -> list[dict[str, Any]]:
    """Return the completions of one group whole, but for their tokens.

    Raises:
        ViewError: when the step has no such group.
    """
    members = [detail(line, place) for place, line in enumerate(step.lines) if group_key(line, place) == name]
    if not members:
        raise ViewError(f"there is no group {name!r} in this step")
    return members


def completion(step: Step, key: str) -> dict[str, Any]:
    """Return one completion whole, with its tokens.

    Raises:
        ViewError: when the step has no such completion.
    """
    for place, line in enumerate(step.lines):
        if key_of(line, place) == key:
            return detail(step.whole(place), place)
    raise ViewError(f"there is no completion {key!r} in this step")


def detail(line: Mapping[str, Any], place: int) -> dict[str, Any]:
    """Return a completion as the page shows it: its summary, its turns, its searches and its tokens."""
    episode = as_mapping(line.get("episode"))
    gold, _ = gold_documents(line)
    searches = [
        {"query": query, "documents": [{"id": str(name), "gold": str(name) in gold} for name in as_list(ids)]}
        for query, ids in zip(as_list(episode.get("queries")), as_list(episode.get("document_ids")), strict=False)
    ]
    output = str(line.get("output", ""))
    return {
        **summary(line, place),
        "group": group_key(line, place),
        "question": str(line.get("input", "")),
        "id": question_id(str(line.get("input", ""))),
        "answers": answers(line),
        "gold_documents": gold,
        "turn_texts": _turns(line) or [{"role": "assistant", "text": output}],
        "search_results": searches,
        "timing": as_mapping(line.get("timing")),
        "tokens": line.get("tokens"),
    }


def _turns(line: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the turns of a completion, each with a role and a text."""
    turns = (turn for turn in as_list(line.get("turns")) if isinstance(turn, dict))
    return [{**turn, "role": str(turn.get("role", "")), "text": str(turn.get("text", ""))} for turn in turns]


def answers(line: Mapping[str, Any]) -> list[str]:
    """Return the right answers of a completion's question."""
    truth = line.get("gts")
    given = as_mapping(truth).get("answers") if isinstance(truth, Mapping) else truth
    if given is None:
        return []
    return [str(each) for each in given] if isinstance(given, Sequence) and not isinstance(given, str) else [str(given)]


def same_question(step: Step, question: str) -> list[dict[str, Any]]:
    """Return the completions of a step that were asked a question, without their tokens; empty where none was.

    Args:
        step: the completions.
        question: the prompt, with a chat template's marks or without.
    """
    wanted = question_text(question)
    lines = enumerate(step.lines)
    return [detail(line, place) for place, line in lines if question_text(str(line.get("input", ""))) == wanted]


def worst(step: Step, metric: str, most: int) -> list[str]:
    """Return the keys of the completions with the worst values of what a rule of the guard watches.

    Args:
        step: the completions.
        metric: `length` (longest first), `reward` (lowest first), `answer` (those without an answer first).
        most: how many.
    """
    order = {
        "length": lambda line: -len(str(line.get("output", ""))),
        "reward": lambda line: math.inf if (score := as_number(line.get("score"))) is None else score,
        "answer": lambda line: as_mapping(line.get("episode")).get("outcome") == "answered",
    }[metric]
    places = sorted(range(len(step.lines)), key=lambda place: order(step.lines[place]))
    return [key_of(step.lines[place], place) for place in places[:most]]
