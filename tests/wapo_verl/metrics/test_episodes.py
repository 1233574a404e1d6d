"""Metrics over episode records, on hand-counted batches."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wapo_verl.environments.episode import OUTCOMES, Episode
from wapo_verl.metrics.episodes import (
    batch_metrics,
    episode_metrics,
    reward_part_metrics,
)

RECORDS = [
    Episode("Torrin", ("a", "b"), (("d1",), ()), turns=3).to_record(),
    Episode("Eve", (), (), turns=1).to_record(),
    Episode(None, ("a",), (("d1", "d2"),), turns=2, outcome="no_tag").to_record(),
    Episode(None, ("a",), (("d1",),), turns=2, outcome="turn_limit").to_record(),
]


def test_a_batch_is_counted_by_hand() -> None:
    metrics = episode_metrics(RECORDS)
    assert metrics["episode/count"] == 4
    assert metrics["episode/outcome/answered"] == metrics["episode/answer_rate"] == 0.5
    assert metrics["episode/abstention_rate"] == 0.5
    assert metrics["episode/outcome/no_tag"] == metrics["episode/outcome/turn_limit"] == 0.25
    assert metrics["episode/outcome/context_full"] == 0.0
    assert (metrics["episode/turns/mean"], metrics["episode/turns/max"]) == (2.0, 3.0)
    assert (metrics["episode/searches/mean"], metrics["episode/searches/max"]) == (1.0, 2.0)
    assert metrics["episode/empty_searches"] == 0.25


def test_an_answer_that_says_it_does_not_know_is_an_answer_and_an_abstention() -> None:
    record = Episode("I don't know.", turns=1).to_record()
    metrics = episode_metrics([RECORDS[0], record])
    assert (metrics["episode/answer_rate"], metrics["episode/abstention_rate"]) == (1.0, 0.5)


@given(st.lists(st.sampled_from(OUTCOMES), min_size=1))
def test_shares_sum_to_one_and_no_key_is_ever_missing(outcomes: list[str]) -> None:
    metrics = episode_metrics([Episode(None, outcome=outcome).to_record() for outcome in outcomes])
    shares = [metrics[f"episode/outcome/{name}"] for name in OUTCOMES]
    assert sum(shares) == pytest.approx(1.0)
    assert set(metrics) == set(episode_metrics(RECORDS))


def test_reward_parts_are_averaged_over_the_samples_that_have_them() -> None:
    scores = [{"score": 1.0, "exact_match": 1.0}, {"score": 0.0, "exact_match": 0.0}, {"score": 0.5, "f1": 0.5}]
    assert reward_part_metrics(scores) == {
        "reward/score/mean": 0.5,
        "reward/exact_match/mean": 0.5,
        "reward/f1/mean": 0.5,
    }


def test_empty_batches_have_no_metrics() -> None:
    assert episode_metrics([]) == reward_part_metrics([]) == batch_metrics([]) == {}


def test_a_steps_column_gives_both() -> None:
    column: list[dict[str, Any]] = [{"episode": RECORDS[0], "reward_extra_info": {"score": 1.0}}, {"turn_scores": []}]
    metrics = batch_metrics(column)
    assert metrics["episode/count"] == 1.0
    assert metrics["reward/score/mean"] == 1.0
