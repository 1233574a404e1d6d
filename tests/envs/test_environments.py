"""The shared test: what holds for every environment that the registry finds. No GPU, no retrieval server."""

from __future__ import annotations

import json
import math
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from envs.environment import AGENT_NAMES, Environment
from envs.episode import OUTCOMES, Episode
from envs.registry import environment, names
from envs.schema import check_alike, check_row

ROWS = 64  # of each split
SHARED = Path(__file__).parents[3] / "shared" / "data"
BLANK_ANSWERS = ("", " \n", "\t")


def rows_of(env: Environment, source: Path | None, limit: int | None = ROWS) -> list[dict[str, Any]]:
    return [
        env.row(example, split, index)
        for split in env.available_splits(source)
        for index, example in enumerate(islice(env.examples(split, source, **env.resolve_options({})), limit))
    ]


@pytest.fixture(scope="module", params=names())
def env(request: pytest.FixtureRequest) -> Environment:
    return environment(request.param)


@pytest.fixture(scope="module")
def rows(env: Environment) -> list[dict[str, Any]]:
    return rows_of(env, env.sample_source())


def truth(row: dict[str, Any]) -> Any:
    return row["reward_model"]["ground_truth"]


def assert_sound(env: Environment, rows: list[dict[str, Any]]) -> None:
    """The whole contract over these rows: veRL's schema, gold 1, empty 0, deterministic, one set of parts."""
    parts = set(env.score(env.gold_episode(rows[0]), truth(rows[0])))
    for index, row in enumerate(rows):
        check_row(row, env.name, index)
        check_alike(rows[0], row, env.name, index)
        gold = env.gold_episode(row)
        empty = [Episode(answer=None, outcome=outcome) for outcome in OUTCOMES]
        empty += [Episode(answer=blank) for blank in BLANK_ANSWERS]
        scores = [env.score(episode, truth(row)) for episode in (gold, *empty)]
        assert [score["score"] for score in scores] == [1.0] + [0.0] * len(empty), row
        for score in scores:
            assert set(score) == parts
            assert all(type(value) is float and math.isfinite(value) for value in score.values())


def test_the_environments_of_this_delivery_are_found() -> None:
    assert {"hotpotqa", "miniwiki", "ottqa"} <= set(names())


def test_class_attributes_are_in_order(env: Environment) -> None:
    assert env.name
    assert env.ability
    assert env.splits
    assert env.agent_name in AGENT_NAMES
    assert all(weight for weight in env.reward_weights.values())


def test_rows_and_scores_are_sound(env: Environment, rows: list[dict[str, Any]]) -> None:
    assert {row["extra_info"]["split"] for row in rows} == set(env.splits)
    assert {row["data_source"] for row in rows} == {env.name}
    assert_sound(env, rows)


def test_rows_are_the_same_every_time(env: Environment, rows: list[dict[str, Any]]) -> None:
    assert rows_of(env, env.sample_source()) == rows


def test_scoring_is_deterministic_and_survives_json(env: Environment, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        gold = env.gold_episode(row)
        again = Episode.from_record(json.loads(json.dumps(gold.to_record())))
        assert again == gold
        assert env.score(again, json.loads(json.dumps(truth(row)))) == env.score(gold, truth(row))


def test_a_wrong_answer_scores_less_than_gold(env: Environment, rows: list[dict[str, Any]]) -> None:
    wrong = Episode(answer="qwzx qwzx", completion="qwzx qwzx")
    assert all(env.score(wrong, truth(row))["score"] < 1.0 for row in rows)


def test_weights_are_the_users(env: Environment, rows: list[dict[str, Any]]) -> None:
    gold, row = env.gold_episode(rows[0]), rows[0]
    parts = env.parts(gold, truth(row))
    assert env.score(gold, truth(row), weights={})["score"] == 0.0
    for name, value in parts.items():
        assert env.score(gold, truth(row), weights={name: 0.5})["score"] == pytest.approx(0.5 * value)
    with pytest.raises(ValueError, match="'novelty' names no reward part"):
        env.score(gold, truth(row), weights={"novelty": 1.0})


def test_an_unknown_option_is_refused(env: Environment) -> None:
    with pytest.raises(ValueError, match="has no option 'colour'"):
        env.resolve_options({"colour": "red"})


@pytest.mark.parametrize(("name", "count"), [("ottqa", 1500), ("hotpotqa", 50)])
def test_all_shared_rows_are_sound(name: str, count: int) -> None:
    if not (SHARED / name).is_dir():
        pytest.skip(f"no real {name} rows in {SHARED}")
    env = environment(name)
    rows = rows_of(env, SHARED / name, limit=None)
    assert len(rows) == count
    assert_sound(env, rows)
