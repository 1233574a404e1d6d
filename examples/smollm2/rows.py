r"""The questions: which of three numbers is the largest? Rows of `math_rows`, with a prompt of their own.

`math_rows` asks to reason step by step, for which a CPU has no time. Here a finished turn shows what is wanted, an
answer in a box and nothing else; ground truth, verifier and reward are those of `math_rows`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from wapo_verl.environments.installed.math_rows import MathRows

from wapo_verl.data.parquet import write_parquet
from wapo_verl.environments.environment import Example
from wapo_verl.environments.math.extraction import BOXED

NUMBERS = range(10, 100)
COUNT = 3
INSTRUCTION = r"Answer in \boxed{}."
SHOWN = (21, 46, 37)
"""The numbers of the finished turn; no row asks for them."""


class LargestNumber(MathRows):
    """`math_rows` asked in a few tokens, after one finished turn."""

    def prompt(self, example: Example) -> list[dict[str, str]]:
        """Return a system turn, a question and its answer, and the row's question."""
        return [
            {"role": "system", "content": INSTRUCTION},
            {"role": "user", "content": question(SHOWN)},
            {"role": "assistant", "content": rf"\boxed{{{max(SHOWN)}}}"},
            {"role": "user", "content": example.question},
        ]


def question(numbers: tuple[int, ...]) -> str:
    """Ask for the largest of the numbers."""
    return f"Largest of {', '.join(map(str, numbers))}?"


def write_rows(folder: Path, counts: dict[str, int], seed: int) -> None:
    """Write the rows of each split as FOLDER/SPLIT.parquet.

    No three numbers are asked for twice, in whatever order, within a split or in two.

    Args:
        folder: made where it is not there.
        counts: rows of each split.
        seed: of the choice of numbers.
    """
    environment, numbers = LargestNumber(), _different_numbers(random.Random(seed))
    options = environment.resolve_options({"answer_format": BOXED})
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in counts.items():
        examples = (
            Example(question(chosen), (str(max(chosen)),), extra={"id": "-".join(map(str, chosen))})
            for chosen in islice(numbers, count)
        )
        rows = (
            environment.row(environment.with_row_options(example, options), split, index)
            for index, example in enumerate(examples)
        )
        write_parquet(rows, folder / f"{split}.parquet", f"the rows of {split}")


def _different_numbers(generator: random.Random) -> Iterator[tuple[int, ...]]:
    """Yield sets of numbers, in random order, none twice; they never come to an end before all are used up."""
    used = {frozenset(SHOWN)}
    while True:
        chosen = tuple(generator.sample(NUMBERS, COUNT))
        if frozenset(chosen) not in used:
            used.add(frozenset(chosen))
            yield chosen
