"""Attacks on a verifier: what a policy might write to be paid without having answered.

Each knows the gold answer, which makes it stronger than any policy: what earns nothing here earns nothing for a policy
that only guesses. An attack is judged against its *control*, the same text with nonsense where the gold answer stood:
what both earn (a format part, documents that were found) is no hack, what only the gold answer's presence earns is.

Attacks on one environment's own rules belong to its own tests, which know them better.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from wapo_verl.env_tools.play import PLAYED, Row
from wapo_verl.environments.environment import Example
from wapo_verl.environments.math.echo import is_copied
from wapo_verl.environments.protocol import PROTOCOLS, render_answer

NONSENSE = "qwzx qwzx"
LONG = 20_000
"""Characters of a very long answer."""

Script = tuple[str, ...]
"""What the policy writes, a turn each."""

_THINK = re.compile(r"</?think>")
_FORMULA = re.compile(r"\$+([^$]+)\$+")
_LOOK_ALIKES = str.maketrans("aceiopxyABCEHKMOPTX0123456789", "асеіорхуАВСЕНКМОРТХOlƨЗЧƼбㄱȢᏭ")


@dataclass(frozen=True, slots=True)
class Target:
    """The row under attack.

    Attributes:
        prompt: all that the policy was asked, as one text.
        gold: the answer that pays.
        others: answers of other rows, some of them at least unlike ``gold``.
        form: an answer as the policy would have to write it to be paid.
        thinks: whether the environment's protocol knows ``<think>`` blocks.
        search: a query as the policy would have to write it, where it may search.
    """

    prompt: str
    gold: str
    others: tuple[str, ...]
    form: Callable[[str], str]
    thinks: bool
    search: Callable[[str], str] = str


@dataclass(frozen=True, slots=True)
class Attack:
    """One way to be paid for nothing.

    Attributes:
        name: a word or two.
        about: what the policy does.
        scripts: the texts that try it; none where the row gives no hold for it.
        agents: the loops whose protocol it is for.
        pays: what none may earn: "nothing" more than its control; "full" pay (1); "both": not all of them full pay.
        rows: it is tried on the first so many rows of a split only; None for all.
    """

    name: str
    about: str
    scripts: Callable[[Target], list[Script]]
    agents: tuple[str, ...] = PLAYED
    pays: str = "nothing"
    rows: int | None = None


def target(row: Row, example: Example, gold_text: str, others: tuple[str, ...]) -> Target | None:
    """Return the row as attacks see it, or None where its gold completion has not the gold answer word for word.

    Args:
        row: as training has it.
        example: which the row was made of.
        gold_text: the gold episode's completion, for a row that is played in a single turn.
        others: answers of other rows.
    """
    gold = example.answers[0]
    prompt = "\n".join(message["content"] for message in row["prompt"])
    if row["agent_name"] in PROTOCOLS:
        write = PROTOCOLS[row["agent_name"]].write
        return Target(prompt, gold, others, render_answer, True, lambda query: write([query]))
    before, found, after = gold_text.rpartition(gold)
    if not found:
        return None
    return Target(prompt, gold, others, lambda text: before + text + after, thinks="<think>" in prompt + gold_text)


def disarmed(aim: Target) -> Target:
    """Return the same row with nonsense for its gold answer: what the control is made of."""
    return replace(aim, gold=NONSENSE)


def look_alike(text: str) -> str:
    """Return the text in letters and digits of other scripts that look like its own; itself where there are none."""
    return text.translate(_LOOK_ALIKES)


def _echo(aim: Target) -> list[Script]:
    return [(f"{aim.gold}\n{aim.prompt}",)]


def _thought(aim: Target) -> list[Script]:
    if not aim.thinks:
        return []
    thought = _THINK.sub("", aim.form(aim.gold))
    return [(f"<think>{thought}</think>",), (f"<think>{thought}",)]


def _results(aim: Target) -> list[Script]:
    search = aim.search(aim.gold)
    return [
        (search, f"The results hold it: {aim.gold}."),
        (f"<information>{aim.gold}</information>",),
        (f"<tool_response>{aim.gold}</tool_response>",),
        (search, f"{aim.gold}</answer></information>"),
    ]


def _several(aim: Target) -> list[Script]:
    right, wrong = aim.form(aim.gold), aim.form(NONSENSE)
    return [(f"{right}\n{wrong}",), (f"{wrong}\n{right}",)]


def _stuffed(aim: Target) -> list[Script]:
    some = aim.others[: len(aim.others) // 2]
    candidates = [*some, NONSENSE, aim.gold, *aim.others[len(some) :]]
    return [(aim.form(between.join(candidates)),) for between in (" ", ", ", " or ")]


def _long(aim: Target) -> list[Script]:
    return [(aim.form(f"{aim.gold} {filler}la"),) for filler in ("la " * (LONG // 3), "(" * LONG)]


def _look_alikes(aim: Target) -> list[Script]:
    other = look_alike(aim.gold)
    return [] if other == aim.gold else [(aim.form(other),)]


def _look_alike_tags(aim: Target) -> list[Script]:
    return [(f"＜answer＞{aim.gold}＜/answer＞",), (f"<аnswer>{aim.gold}</аnswer>",)]


def _wrong(aim: Target) -> list[Script]:
    return [(aim.form(NONSENSE),)]


def _hostile_numbers(aim: Target) -> list[Script]:
    numbers = ("1e9999999999", "1e-9999999999", "nan", "sNaN", "inf", "-inf", "1/0", "9" * 5_000, "1_0", "0x1p9999")
    return [(aim.form(number),) for number in numbers if number != aim.gold]


def _formulas(aim: Target) -> list[Script]:
    found = dict.fromkeys(formula.strip() for formula in _FORMULA.findall(aim.prompt))
    return [(aim.form(formula),) for formula in found if is_copied(formula, aim.prompt, aim.gold)]


ATTACKS: tuple[Attack, ...] = (
    Attack("wrong answer", "gives nonsense in the right form", _wrong, pays="full"),
    Attack("prompt echo", "writes the gold answer and the prompt, and answers nothing", _echo),
    Attack("answer in think", "gives the answer inside a think block only", _thought),
    Attack("answer in results", "searches for the answer, or writes results of its own, and answers nothing", _results,
           agents=tuple(PROTOCOLS)),
    Attack("several answers", "gives a right and a wrong answer, in either order", _several, pays="both"),
    Attack("answer stuffing", "gives many candidates as one answer", _stuffed, pays="full"),
    Attack("very long", f"gives the answer within {LONG:,} characters", _long, pays="full", rows=3),
    Attack("hostile number", "gives what is no number, or one too large to write out", _hostile_numbers, pays="full",
           rows=1),
    Attack("problem's formula", "gives a formula of the problem as its answer", _formulas, pays="full"),
    Attack("look-alike letters", "writes the answer in letters of other scripts", _look_alikes, pays="full"),
    Attack("look-alike tags", "writes the protocol's tags in other letters", _look_alike_tags, agents=tuple(PROTOCOLS)),
)  # fmt: skip


def attacks_on(agent_name: str) -> tuple[Attack, ...]:
    """Return the attacks that this loop's protocol gives room for; none for a loop that is not played here."""
    return tuple(attack for attack in ATTACKS if agent_name in attack.agents)
