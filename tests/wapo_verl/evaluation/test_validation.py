"""A validation's numbers for the run's log: unbiased, with their error, without what the verifier did not decide."""

from __future__ import annotations

import math

import pytest
from verl.trainer.ppo.metric_utils import process_validation_metrics

from wapo_verl.evaluation.validation import sound_samples, validation_metrics


def test_means_errors_and_pass_at_k_of_each_source() -> None:
    scores = [1.0, 0.0, 0.0, 0.0] + [1.0] * 4 + [0.5, 0.0]
    sources = ["miniwiki"] * 8 + ["mine"] * 2
    uids = ["a"] * 4 + ["b"] * 4 + ["c", "d"]
    found = validation_metrics(sources, uids, {"reward": scores})
    assert found["val/miniwiki/mean"] == pytest.approx(0.625)
    assert found["val/miniwiki/standard_error"] == pytest.approx(0.375)
    assert found["val/miniwiki/pass@2"] == pytest.approx(0.75)
    assert found["val/miniwiki/pass@4"] == 1.0  # veRL's best@4 is 0.84
    assert found["val/mine/mean"] == 0.25
    assert "val/mine/pass@2" not in found
    assert not any(math.isnan(value) for value in found.values())


def test_what_the_verifier_did_not_decide_is_counted_and_left_out() -> None:
    infos = {"reward": [1.0, 0.0, 0.0], "timed_out": [0.0, 1.0, 0.0], "unparsed": [0.0, 0.0, 1.0]}
    found = validation_metrics(["math500"] * 3, ["a", "a", "b"], infos)
    assert found["val/math500/failed/timed_out"] == 1
    assert found["val/math500/mean"] == 0.5
    assert "val/math500/failed/unparsed" not in found  # the policy's own doing


def test_parts_of_another_source_are_none() -> None:
    infos = {"reward": [1.0, 0.0], "timed_out": [None, 0.0]}
    found = validation_metrics(["miniwiki", "math500"], ["a", "b"], infos)
    assert found["val/miniwiki/mean"] == 1.0
    assert "val/miniwiki/standard_error" not in found
    assert found["val/math500/failed/timed_out"] == 0


def test_nothing_but_failures_has_no_mean() -> None:
    found = validation_metrics(["math500"], ["a"], {"reward": [0.0], "worker_died": [1.0]})
    assert found == {"val/math500/failed/worker_died": 1.0}


FAILED = {
    "reward": [1.0, math.nan, 0.0, math.nan],
    "acc": [1.0, None, 0.0, None],
    "failure": [None, "retriever", None, "verifier"],
}


def test_failed_episodes_are_counted_by_reason_and_left_out() -> None:
    found = validation_metrics(["miniwiki"] * 4, ["a", "a", "b", "c"], FAILED)
    assert found["val/miniwiki/mean"] == 0.5
    assert found["val/miniwiki/failed/retriever"] == 1
    assert found["val/miniwiki/failed/verifier"] == 1


def test_verls_own_numbers_have_no_zero_for_a_failed_episode() -> None:
    """veRL counts a sample that is missing as acc=0, and a mean with NaN is NaN."""
    expected = {("miniwiki", uid): count for uid, count in {"a": 2, "b": 1, "c": 1}.items()}
    given = (["miniwiki"] * 4, ["a", "a", "b", "c"], FAILED, [2, 0, 3, 0], expected)
    sources, uids, infos, turns, expected = sound_samples(*given)
    assert turns == [2, 3]
    assert expected == {("miniwiki", "a"): 1, ("miniwiki", "b"): 1}
    found = process_validation_metrics(sources, uids, infos, expected_acc_counts=expected)["miniwiki"]
    assert found["reward"]["mean@1"] == found["acc"]["mean@1"] == 0.5
