"""Slow: the real thing. The quickstart's command trains under veRL's V1 trainer with Ray, FSDP2 and vLLM, and learns.

Nothing is replaced.
"""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from support.quickstart_run import QUESTIONS, STEPS

from wapo_verl.data.json_lines import read_json_lines

pytestmark = [pytest.mark.slow, pytest.mark.ray]


@pytest.fixture(scope="module")
def steps(quickstart_run: Path) -> list[dict[str, Any]]:
    rows = read_json_lines(quickstart_run / "metrics.jsonl")
    return [row["data"] for row in rows if row["step"] > 0]


def test_held_out_exact_match_rises(quickstart_run: Path) -> None:
    held_out = json.loads((quickstart_run / "report.json").read_text())["held_out"]
    first, last = held_out[0]["exact_match"], held_out[-1]["exact_match"]
    assert held_out[-1]["step"] == STEPS
    assert first <= 0.5
    assert last >= first + 0.15


def test_the_actor_and_the_rollout_have_the_same_weights_at_every_step(steps: list[dict[str, Any]]) -> None:
    """One update a step, so the ratio before it is 1 up to rounding: a stale or mispacked weight would show here."""
    assert len(steps) == STEPS
    for step in steps:
        assert step["training/rollout_probs_diff_mean"] < 1e-5
        assert step["actor/ratio_mean"] == pytest.approx(1.0, abs=1e-4)
        assert step["actor/ratio_max"] == pytest.approx(1.0, abs=1e-2)


def test_every_step_is_wapos(steps: list[dict[str, Any]]) -> None:
    for step in steps:
        assert 0 < step["group/winner_fraction"] < 1
        assert step["group/count"] == 16
        assert step["actor/skipped_steps"] == 0
        assert step["actor/clip_fraction"] == 0
        assert math.isfinite(step["actor/entropy"])
        assert step["actor/entropy"] > 0
        assert step["actor/grad_norm"] > 0


def test_episodes_search(steps: list[dict[str, Any]]) -> None:
    for step in steps:
        shares = [value for name, value in step.items() if name.startswith("episode/outcome/")]
        assert sum(shares) == pytest.approx(1.0)
        assert step["episode/searches/mean"] > 1
        assert step["reward/exact_match/mean"] == pytest.approx(step["critic/score/mean"])


def test_the_dump_holds_whole_episodes(quickstart_run: Path) -> None:
    lines = read_json_lines(quickstart_run / "rollouts" / f"{STEPS}.jsonl")
    assert len(lines) == 16 * 8
    answered = [line for line in lines if line["episode"]["outcome"] == "answered"]
    assert answered
    for line in answered:
        assert line["output"].count("<|im_start|>") >= 2 * len(line["episode"]["queries"])
        assert line["score"] == line["exact_match"]


def test_the_dump_holds_the_numbers_of_the_tokens_that_were_trained_on(quickstart_run: Path) -> None:
    lines = read_json_lines(quickstart_run / "rollouts" / f"{STEPS}.jsonl")
    trained = [line for line in lines if "bin" in line["tokens"]]
    assert trained == [line for line in lines if line["advantage"] != 0]
    assert trained
    for line in trained:
        tokens = line["tokens"]
        assert [each is not None for each in tokens["bin"]] == [own == 1 for own in tokens["mask"]]
        assert {*tokens["bin"]} <= {"pos_peak", "pos_valley", None}
        for own, actor, rollout, entropy in zip(
            tokens["mask"], tokens["actor_log_prob"], tokens["rollout_log_prob"], tokens["entropy"], strict=True
        ):
            assert not own or (actor == pytest.approx(rollout, abs=1e-3) and entropy >= 0)


def test_a_validation_is_recorded_whole(quickstart_run: Path) -> None:
    for step in (0, STEPS):
        lines = read_json_lines(quickstart_run / "validation" / f"{step}.jsonl")
        assert len(lines) == QUESTIONS
        for line in lines:
            assert line["score"] == line["exact_match"]
            assert line["episode"]["turns"] == sum(turn["role"] == "assistant" for turn in line["turns"])
            assert all(turn["seconds"] >= 0 for turn in line["turns"])
            assert len(line["tokens"]["ids"]) == len(line["tokens"]["rollout_log_prob"]) == line["turns"][-1]["end"]
            assert "advantage" not in line


def test_it_fits_a_laptop(quickstart_run: Path) -> None:
    report = json.loads((quickstart_run / "report.json").read_text())
    assert 1 < report["peak_memory_gigabytes"] < 12
    assert (quickstart_run / "curves.png").stat().st_size > 10_000
