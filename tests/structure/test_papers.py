"""docs/papers.md states the keys that each algorithm sets, and a test holds them to the code. No GPU, no veRL."""

from __future__ import annotations

import re

import pytest
from support.paths import ROOT

from wapo_verl.algorithms import ALGORITHMS
from wapo_verl.algorithms.objective import FROM_THE_ROLLOUT

PAGE = (ROOT / "docs" / "papers.md").read_text()


def documented(head: str) -> dict[str, str]:
    """The lines `key = value` of the block that begins with this head."""
    (block,) = re.findall(
        rf"^```text{head}\n(algorithm\..*?|actor_rollout_ref\..*?)^```$", PAGE, re.MULTILINE | re.DOTALL
    )
    return dict(line.split(" = ", 1) for line in block.splitlines())


def test_the_keys_that_all_set() -> None:
    assert documented("") == {key: str(value) for key, value in FROM_THE_ROLLOUT.items()}


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_the_keys_of_an_algorithm(name: str) -> None:
    own = {key: value for key, value in ALGORITHMS[name].defaults.items() if key not in FROM_THE_ROLLOUT}
    shown = documented(f" keys {name}")
    assert list(shown) == list(own)
    assert [shown[key] for key, value in own.items() if not callable(value)] == [
        str(value) for value in own.values() if not callable(value)
    ]
    assert f"\n## {name}\n" in PAGE


def test_the_table_of_algorithms_names_each() -> None:
    table = (ROOT / "docs" / "algorithms.md").read_text()
    assert [name for name in ALGORITHMS if f"| `{name}` |" not in table] == []
