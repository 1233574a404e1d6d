"""The README stays short, its links lead somewhere, and its Python does what it says. No GPU, no veRL."""

from __future__ import annotations

import ast
import doctest
import re
from typing import Any

import pytest
import torch
from support.paths import ROOT

import wapo_verl.algorithms

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def value_of(line: str, names: dict[str, Any]) -> Any:
    """The value of a line's expression, or of what it assigns; tensors as lists."""
    (statement,) = ast.parse(line).body
    if isinstance(statement, ast.Assign):
        exec(line, names)
        value = eval(ast.unparse(statement.targets[0]), names)
    else:
        value = eval(line, names)
    return value.tolist() if isinstance(value, torch.Tensor) else value


def test_it_can_be_read_in_one_sitting() -> None:
    assert len(README.splitlines()) <= 150


def test_there_is_an_environment_and_a_loss() -> None:
    assert ["env.score(" in BLOCKS[0], "LossInputs(" in BLOCKS[1]] == [True, True]


@pytest.mark.parametrize("block", BLOCKS, ids=["environment", "loss"])
def test_its_python_gives_what_it_says(block: str) -> None:
    names: dict[str, Any] = {}
    told = 0
    for line in block.splitlines():
        code, arrow, expected = line.partition("  # -> ")
        if arrow:
            assert value_of(code, names) == ast.literal_eval(expected), line
            told += 1
        else:
            exec(code, names)
    assert told == 2


def test_its_links_lead_somewhere() -> None:
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\((?!https?:)([^)#]+)", prose)
    assert len(links) > 20
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_example_of_the_algorithms() -> None:
    failed, tried = doctest.testmod(wapo_verl.algorithms)
    assert (failed, tried > 0) == (0, True)
