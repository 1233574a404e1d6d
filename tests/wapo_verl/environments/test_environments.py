"""The shared test: what holds for every environment that the registry finds. No GPU, no retrieval server.

Rows and scores are judged by the very checks of `wapo-verl check-env`.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from support.paths import DATA

from wapo_verl.env_tools.attacks import attacks_on
from wapo_verl.env_tools.checks import ABOUT
from wapo_verl.env_tools.row_choice import rows_of
from wapo_verl.env_tools.soundness import check_environment
from wapo_verl.environments.environment import AGENT_NAMES, Environment
from wapo_verl.environments.registry import environment, names

ROWS = 24  # of each split
AGENTS = [
    (name, agent) for name in names() for agent in (environment(name).agent_name, *environment(name).other_agents)
]


@pytest.fixture(params=names())
def env(request: pytest.FixtureRequest) -> Environment:
    return environment(request.param)


@pytest.fixture
def row(env: Environment) -> dict[str, Any]:
    rows = rows_of(env.name, limit=1)
    index, example = next(rows.examples(rows.splits[0]))
    return env.row(example, rows.splits[0], index)


def test_the_environments_of_this_delivery_are_found() -> None:
    assert {"hotpotqa", "math500", "miniwiki", "numinamath_lean", "ottqa"} <= set(names())


def test_class_attributes_are_in_order(env: Environment) -> None:
    assert env.name
    assert env.ability
    assert env.splits
    assert env.agent_name in AGENT_NAMES
    assert all(weight for weight in env.reward_weights.values())


@pytest.mark.parametrize(("name", "agent"), AGENTS)
def test_every_check_passes(name: str, agent: str) -> None:
    rows = rows_of(name, limit=ROWS, agent=agent)
    found = check_environment(rows)
    assert found.failures == []
    assert set(found.rows) == set(environment(name).splits), "the sample has rows of every split"
    expected = {*ABOUT, *(attack.name for attack in attacks_on(agent))}
    assert expected <= {check for check, tally in found.tallies.items() if tally.checked}
    assert attacks_on(agent)


def test_weights_are_the_users(env: Environment, row: dict[str, Any]) -> None:
    gold, truth = env.gold_episode(row), row["reward_model"]["ground_truth"]
    parts = env.parts(gold, truth)
    assert env.score(gold, truth, weights={})["score"] == 0.0
    for name, value in itertools.islice(parts.items(), 4):
        assert env.score(gold, truth, weights={name: 0.5})["score"] == pytest.approx(0.5 * value)
    with pytest.raises(ValueError, match="'novelty' names no reward part"):
        env.score(gold, truth, weights={"novelty": 1.0})


def test_an_unknown_option_is_refused(env: Environment) -> None:
    with pytest.raises(ValueError, match="has no option 'colour'"):
        env.resolve_options({"colour": "red"})


@pytest.mark.parametrize("name", ["ottqa", "hotpotqa"])
def test_shared_rows_are_sound(name: str) -> None:
    """Of the 1,500 and 50 there are: 200 here, `wapo-verl check-env --source` takes all of them."""
    if not (DATA / name).is_dir():
        pytest.skip(f"no real {name} rows in {DATA}")
    found = check_environment(rows_of(name, DATA / name, limit=200))
    assert sum(found.rows.values()) in (50, 200)
    assert found.failures == []
