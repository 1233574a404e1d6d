"""How many answers a second the mathematics verifier judges: by text alone, and by a worker process.

`python -m benchmarks.math_verifier [--rows PLACE] [--answers N]`. Gold answers are those of a file or folder of
MATH-500's rows (the environment's own few where none is given). Wrong answers are gold answers of other rows; right
ones, for the worker, are sums of a gold expression and a root in the other order, no pair twice. CPU time is counted
beside the clock, because the clock says little on a machine that others use too.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from wapo_verl.environments.math.equivalence import EQUAL, compare
from wapo_verl.environments.math.workers import Limits, Worker
from wapo_verl.environments.registry import environment

NOT_SUMMED = ("\\t", "=", "(", "\\i", "\\m", "\\p", "\\$", "\\b", "^", ",", "_")
"""What a gold answer has that is no summand: text, equations, tuples, sets, money, matrices, degrees."""


class _NeedsAlgebra(Exception):
    pass


def _no_algebra(gold: str, answer: str) -> bool:
    raise _NeedsAlgebra


def wrong_pairs(golds: list[str], count: int) -> list[tuple[str, str]]:
    """Gold answers of two rows each."""
    generator = random.Random(0)
    return [(generator.choice(golds), generator.choice(golds)) for _ in range(count)]


def right_pairs(golds: list[str], count: int) -> Iterator[tuple[str, str]]:
    """Pairs of equal expressions that need algebra."""
    summands = [gold for gold in golds if not any(sign in gold for sign in NOT_SUMMED)]
    for number in range(count):
        root, summand = rf"\sqrt{{{number + 2}}}", summands[number % len(summands)]
        yield f"{summand} + {root}", f"{root} + {summand}"


def measure_text(golds: list[str], count: int) -> None:
    """Print how many wrong answers need no worker, and how fast that is found out."""
    asked, settled = wrong_pairs(golds, count), 0
    started = time.process_time()
    for gold, answer in asked:
        try:
            compare(gold, answer, _no_algebra)
            settled += 1
        except _NeedsAlgebra:
            pass
    speed = count / (time.process_time() - started)
    print(f"by text: {settled / count:.1%} of {count} answers of other rows, {speed:,.0f} answers per CPU second")


def measure_worker(golds: list[str], count: int) -> None:
    """Print what a worker's start, its answers and its memory cost."""
    started = time.monotonic()
    worker = Worker(Limits(workers=1))
    assert worker.ask(r"\sqrt{2}+x", r"x+\sqrt{2}") == EQUAL
    process = psutil.Process(worker.process.pid)
    start_cpu = sum(process.cpu_times()[:2])
    print(f"a worker's start: {start_cpu:.2f} s of CPU, {time.monotonic() - started:.2f} s by the clock")
    started = time.monotonic()
    right = sum(worker.ask(gold, answer) == EQUAL for gold, answer in right_pairs(golds, count))
    clock, spent = time.monotonic() - started, sum(process.cpu_times()[:2]) - start_cpu
    assert right == count, f"{right} of {count} equal"
    print(
        f"by a worker: {count} answers, {count / spent:,.0f} per CPU second, {count / clock:,.0f} a second by the clock"
    )
    print(f"a worker's memory: {process.memory_info().rss / 2**20:.0f} MB resident")
    worker.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--answers", type=int, default=500)
    arguments = parser.parse_args()
    env = environment("math500")
    golds = [example.answers[0] for example in env.examples("test", arguments.rows or env.sample_source())]
    measure_text(golds, 10 * arguments.answers)
    measure_worker(golds, arguments.answers)


if __name__ == "__main__":
    main()
