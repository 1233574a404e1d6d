"""Measure how many right and wrong answers a second of CPU the mathematics verifier judges, and math-verify alone.

`python -m benchmarks.math_verifier [--rows PLACE] [--answers N] [--rounds N]`. Gold answers are those of a file or a
folder of MATH-500's rows (the environment's own few where none is given). Right answers are gold answers written
otherwise, wrong ones are other rows' gold answers, gold answers with one number changed, and expressions near the gold
one; no pair is judged twice. CPU time of this process and of the verifier's workers is counted, because the clock says
little on a machine that others use; the two verifiers take turns, so that what disturbs one disturbs the other.
"""

from __future__ import annotations

import argparse
import logging
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from wapo_verl.environments.math import verifier
from wapo_verl.environments.registry import environment

Pair = tuple[str, str]
_EXPRESSION = re.compile(r"sqrt|pi|\^|[a-z]")
_OTHER = re.compile(r"text|mbox|begin|[=,(_$]|\\in")
_NUMBER = re.compile(r"(?<![0-9_])[1-9][0-9]*(?![0-9])")


def wrong_pairs(golds: list[str], count: int) -> dict[str, list[Pair]]:
    """Return pairs of a gold answer and a wrong one, by how it came about."""
    chance = random.Random(0)
    drawn = [chance.choice(golds) for _ in range(count)]
    others = [(gold, chance.choice(golds)) for gold in drawn]
    expressions = [gold for gold in golds if _EXPRESSION.search(gold) and not _OTHER.search(gold)] or golds
    return {
        "another row's answer": [pair for pair in others if pair[0] != pair[1]],
        "a number changed": [
            (gold, _NUMBER.sub(lambda found: str(int(found[0]) + chance.randint(1, 9)), gold, count=1))
            for gold in drawn
            if _NUMBER.search(gold)
        ],
        "an expression nearby": [
            (gold, rf"{gold}+\sqrt{{{number + 2}}}") for number in range(count) for gold in [chance.choice(expressions)]
        ],
    }


def right_pairs(golds: list[str], count: int) -> dict[str, list[Pair]]:
    """Return pairs of a gold answer and the same written otherwise."""
    chance = random.Random(1)
    drawn = [chance.choice(golds) for _ in range(count)]
    summands = [gold for gold in golds if not re.search(r"[=,(\\$_^%]|text", re.sub(r"\\frac|\\sqrt|\\pi", "", gold))]
    return {
        "the same text": [(gold, f"${gold}$") for gold in drawn],
        "written otherwise": [(gold, re.sub(r"\\frac", r"\\dfrac", gold).replace("(", r"\left(")) for gold in drawn],
        "terms turned round": [
            (rf"{summand}+\sqrt{{{number + 2}}}", rf"\sqrt{{{number + 2}}}+{summand}")
            for number in range(count)
            for summand in [chance.choice(summands)]
        ],
    }


def by_math_verify(gold: str, answer: str) -> bool:
    """Judge with math-verify as its own documentation does, without its time limit."""
    from math_verify import parse, verify

    wanted, given = (parse(f"${text}$", parsing_timeout=None) for text in (gold, answer))
    return bool(verify(wanted, given, timeout_seconds=None))


def by_us(gold: str, answer: str) -> bool:
    """Judge as a reward does."""
    return verifier.verify(gold, answer) == verifier.EQUAL


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its children, those that have ended among them."""
    children = (child.cpu_times() for child in psutil.Process().children())
    ended = psutil.Process().cpu_times()
    living = sum(times.user + times.system for times in children)
    return time.process_time() + living + ended.children_user + ended.children_system


def measure(judge: Callable[[str, str], bool], pairs: list[Pair]) -> tuple[float, int]:
    """Return CPU seconds, and how many were called equal."""
    started = cpu_seconds()
    equal = sum(judge(*pair) for pair in pairs)
    return cpu_seconds() - started, equal


def compare(kinds: dict[str, list[Pair]], title: str, rounds: int) -> None:
    """Measure both verifiers in turns on each kind of pairs, and print."""
    for kind, pairs in kinds.items():
        seconds = {"ours": 0.0, "math-verify": 0.0}
        equal = {"ours": 0, "math-verify": 0}
        for place in range(rounds):
            part = pairs[place::rounds]
            for name, judge in (("ours", by_us), ("math-verify", by_math_verify)):
                spent, right = measure(judge, part)
                seconds[name] += spent
                equal[name] += right
        speeds = {name: len(pairs) / spent for name, spent in seconds.items()}
        told = (f"{name} {speed:,.0f} a CPU second, {equal[name]} equal" for name, speed in speeds.items())
        print(f"{title}, {kind}, {len(pairs)}: {'; '.join(told)}; {speeds['ours'] / speeds['math-verify']:.0f} times")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--answers", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    env = environment("math500")
    golds = [example.answers[0] for example in env.examples("test", arguments.rows or env.sample_source())]
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its time limit is off
    by_math_verify("1", "x")  # imports are not what is measured
    by_us(r"\int_0^1 x\,dx", "1/2")
    compare(wrong_pairs(golds, arguments.answers), "wrong", arguments.rounds)
    compare(right_pairs(golds, arguments.answers), "right", arguments.rounds)


if __name__ == "__main__":
    main()
