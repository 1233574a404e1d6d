"""Kinds of right answers that were refused, and of wrong ones that were paid, each with its whole family.

`answers/right.txt` and `answers/wrong.txt` hold them as `gold <- answer`, a heading a kind. No processes, no GPU.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from wapo_verl.environments.math.algebra import same_expression
from wapo_verl.environments.math.equivalence import EQUAL, compare

ANSWERS = Path(__file__).parent / "answers"


def families(name: str) -> dict[str, list[tuple[str, str]]]:
    """The pairs of a file, by kind."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in (ANSWERS / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            pairs = found.setdefault(line[2:], [])
        elif line:
            gold, answer = line.split(" <- ")
            pairs.append((gold, answer))
    return found


RIGHT, WRONG = families("right.txt"), families("wrong.txt")


@pytest.mark.parametrize(("kind", "gold", "answer"), [(kind, *pair) for kind in RIGHT for pair in RIGHT[kind]])
def test_a_right_answer_is_paid(kind: str, gold: str, answer: str) -> None:
    assert compare(gold, answer, same_expression) == EQUAL


@pytest.mark.parametrize(("kind", "gold", "answer"), [(kind, *pair) for kind in WRONG for pair in WRONG[kind]])
def test_a_wrong_answer_is_not_paid(kind: str, gold: str, answer: str) -> None:
    assert compare(gold, answer, same_expression) != EQUAL


def test_each_kind_has_right_answers_and_wrong_neighbours() -> None:
    assert RIGHT.keys() == WRONG.keys()
    assert len(RIGHT) == 24
    assert all(len(pairs) >= 10 for pairs in (*RIGHT.values(), *WRONG.values()))
