"""What must hold of one row, whatever the environment: `wapo-verl check-env` and the shared test both use these.

Every check is a name and a sentence or None: what is wrong with this row, and how to fix it. What concerns several rows
or processes is checked in `soundness`.
"""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from wapo_verl.data.row_schema import check_alike, check_row
from wapo_verl.env_tools.attacks import Attack, Script, attacks_on, disarmed, target
from wapo_verl.env_tools.play import SINGLE, Row, play_script, rules_for, score
from wapo_verl.environments.environment import Environment, Example, RowError
from wapo_verl.environments.episode import OUTCOMES, Episode

BLANK_ANSWERS = ("", " \n", "\t")
ROUNDING = 1e-9
"""Weights such as .7, .2 and .1 do not add up to 1 to the last bit."""

SLOWEST_S = 10.0
"""Seconds that scoring one episode may take, however long it is."""

HANGS_S = 60.0
"""Seconds after which a score is no longer waited for: `10 ** 9999999999` would take minutes and all memory."""

SCHEMA, GOLD, EMPTY, PARTS, SAME = "schema", "gold", "empty", "parts", "same score"
ABOUT: Mapping[str, str] = {
    SCHEMA: "the row has veRL's columns and types, the same in every row",
    GOLD: "the gold episode scores 1",
    EMPTY: "an episode without an answer scores 0",
    PARTS: "every score has the same parts, all of them finite numbers",
    SAME: "an episode scores the same again, and after it has been JSON",
}

Problem = tuple[str, str | None]
"""A check's name, and what is wrong; None where all is well."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A row to check.

    Attributes:
        env: its environment.
        split, index: its place, counted from 0.
        first: the first row of all, whose keys and types every row must have.
        others: answers of other rows, for an attack that gives them all.
    """

    env: Environment
    example: Example
    row: Row
    split: str
    index: int
    first: Row
    others: tuple[str, ...]

    @property
    def single(self) -> bool:
        """Whether veRL's own single-turn loop plays it: the verifier then gets the text, and no record."""
        return bool(self.row["agent_name"] == SINGLE)

    @property
    def gold(self) -> Episode:
        """The episode that the environment says is right."""
        return self.env.gold_episode(self.row)

    def score(self, episode: Episode) -> dict[str, float]:
        """Score an episode as training would."""
        return score(self.row, episode.completion, None if self.single else episode)

    def script_score(self, script: Script) -> float:
        """Score a policy that writes this and finds, with every search, the documents with the evidence."""
        if self.single:
            return self.score(Episode(None, completion="\n".join(script)))["score"]
        return self.score(play_script(rules_for(self.row), script, self.example.document_ids))["score"]


def check_one(subject: Subject) -> Iterator[Problem]:
    """Make every check of one row; of the row's schema first, and nothing else where that is wrong."""
    wrong = _schema(subject)
    yield SCHEMA, wrong
    if wrong:
        return
    for name, check in ((GOLD, _gold), (EMPTY, _empty), (PARTS, _parts), (SAME, _same)):
        yield name, _outcome(check, subject)
    for attack in attacks_on(subject.row["agent_name"]):
        if attack.rows is None or subject.index < attack.rows:
            yield attack.name, _outcome(partial(_attacked, attack=attack), subject)


def _outcome(check: Callable[[Subject], str | None], subject: Subject) -> str | None:
    try:
        return check(subject)
    except Exception as error:  # noqa: BLE001 - whatever a verifier raises is what is wrong with it
        return f"raises {type(error).__name__}: {error}"


def _schema(subject: Subject) -> str | None:
    where = f"{subject.env.name} {subject.split}"
    try:
        check_row(subject.row, where, subject.index)
        check_alike(subject.first, subject.row, where, subject.index)
    except RowError as error:
        return f"field {error.field!r} {error.problem}"
    if subject.row["data_source"] != subject.env.name:
        return f"data_source is {subject.row['data_source']!r}, and must be the environment's name"
    return None


def _gold(subject: Subject) -> str | None:
    found = subject.score(subject.gold)
    parts = ", ".join(f"{name} {value:g}" for name, value in found.items() if name != "score")
    return (
        None if abs(found["score"] - 1.0) < ROUNDING else f"the gold episode scores {found['score']:g}, not 1 ({parts})"
    )


def _empty(subject: Subject) -> str | None:
    for what, episode in _without_answer(subject):
        found = subject.score(episode)["score"]
        if found != 0.0:
            return f"{what} scores {found:g}, not 0"
    return None


def _without_answer(subject: Subject) -> Iterator[tuple[str, Episode]]:
    """Yield episodes that answer nothing, each with its name."""
    for blank in BLANK_ANSWERS:
        if subject.single:
            yield f"the completion {blank!r}", Episode(None, completion=blank)
        else:
            yield f"the answer {blank!r}", Episode(blank)
    if not subject.single:
        for outcome in OUTCOMES:
            yield f"an episode that ended as {outcome!r} without an answer", Episode(None, outcome=outcome)


def _parts(subject: Subject) -> str | None:
    expected = set(subject.score(subject.gold))
    for what, episode in (("the gold episode", subject.gold), *_without_answer(subject)):
        found = subject.score(episode)
        if set(found) != expected:
            return f"{what} has other parts than the gold episode: {', '.join(sorted(expected ^ set(found)))}"
        for name, value in found.items():
            if not math.isfinite(value):
                return f"{what} has the part {name} = {value}, which is no finite number"
    return None


def _same(subject: Subject) -> str | None:
    first = subject.score(subject.gold)
    again = Episode.from_record(json.loads(json.dumps(subject.gold.to_record())))
    row = json.loads(json.dumps(subject.row))
    found = score(row, again.completion, None if subject.single else again)
    return None if found == first else f"the gold episode scores {first} once and {found} the second time"


def _attacked(subject: Subject, attack: Attack) -> str | None:
    aim = target(subject.row, subject.example, subject.gold.completion, subject.others)
    if aim is None:
        return "cannot be tried: the gold episode's completion does not hold the first of the example's answers"
    started = time.perf_counter()
    scripts = attack.scripts(aim)
    with _waiting_no_longer_than(HANGS_S):
        earned = [subject.script_score(script) for script in scripts]
    if attack.pays == "both":
        if scripts and _full(min(earned)):
            return f"scores 1 whichever comes first: {_shown(scripts[0])}"
    elif attack.pays == "full":
        for script, pay in zip(scripts, earned, strict=True):
            if _full(pay):
                return f"scores {pay:g}, as if it were right: {_shown(script)}"
    else:
        controls = [subject.script_score(script) for script in attack.scripts(disarmed(aim))]
        for script, pay, control in zip(scripts, earned, controls, strict=True):
            if pay > control + ROUNDING:
                return f"scores {pay:g}, and {control:g} with nonsense for the answer: {_shown(script)}"
    return _slow(started)


@contextmanager
def _waiting_no_longer_than(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the block after so many seconds; only in the main thread, where signals arrive."""

    def too_late(*_: object) -> None:
        raise TimeoutError(f"no score after {seconds:g} s; bound its time, or refuse such answers")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, too_late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _full(pay: float) -> bool:
    return pay > 1.0 - ROUNDING


def _slow(started: float) -> str | None:
    took = time.perf_counter() - started
    return f"scoring took {took:.0f} s; bound its time, or refuse long answers" if took > SLOWEST_S else None


def _shown(script: Script) -> str:
    text = " / ".join(script)
    return repr(text) if len(text) <= 120 else f"{text[:80]!r} .. {text[-30:]!r}"
