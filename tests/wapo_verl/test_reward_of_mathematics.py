"""Single-turn mathematics through the reward function that veRL calls, with veRL's own manager. No GPU, no Ray."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from wapo_verl.environments.math import workers as math_workers
from wapo_verl.environments.registry import environment
from wapo_verl.metrics.episodes import reward_part_metrics
from wapo_verl.reward import compute_score

GOLD = r"\frac{\sqrt{3}}{3}"
TRUTH = {"answers": [GOLD], "answer_format": "think", "match": "equivalent", "problem": "What is it?"}
PATH = {"path": "pkg://wapo_verl.reward", "name": "compute_score", "reward_kwargs": {"verifier": {"seconds": 1}}}


def completion(answer: str) -> str:
    return f"<think>hm</think>\nAnswer: {answer}"


def score(answer: str, **settings: Any) -> dict[str, float]:
    truth = {**TRUTH, "answers": np.array([GOLD], dtype=object)}  # as a parquet reader may give it
    return compute_score("math500", completion(answer), truth, {"index": 0}, **settings)


def test_the_completions_text_is_scored() -> None:
    assert score("$1/\\sqrt{3}$")["score"] == 1.0
    assert score("1/3")["score"] == 0.0
    assert score(GOLD, weights={"exact_match": 1.0})["score"] == 1.0
    assert score("1/\\sqrt{3}", weights={"exact_match": 1.0})["score"] == 0.0


def test_the_parts_become_metrics_of_the_step() -> None:
    metrics = reward_part_metrics([score(answer) for answer in (GOLD, "1/3", "\\frac{", "")])
    assert metrics == {
        **{f"reward/{part}/mean": 0.25 for part in ("score", "correct", "exact_match", "unparsed")},
        **{f"reward/{part}/mean": 0.0 for part in ("copied", "gold_unparsed", "timed_out", "worker_died")},
        "reward/format/mean": 0.75,
    }


def test_limits_are_settings_of_the_reward_function() -> None:
    score("1/\\sqrt{3}", verifier={"workers": 1, "seconds": "2.5"})
    assert math_workers.pool().limits == math_workers.WorkerLimits(workers=1, seconds=2.5)
    with pytest.raises(ValueError, match="has no limit 'second'; its limits are workers, seconds, megabytes"):
        score("1", verifier={"second": 1})
    with pytest.raises(ValueError, match="verifier's workers must be above 0"):
        score("1", verifier={"workers": 0})


def test_verls_reward_manager_goes_on_scoring_beside_a_hanging_answer() -> None:
    """Row to score, several completions at once on one event loop; the hanging one is cut off and named."""
    import torch
    from tensordict import TensorDict
    from verl import DataProto
    from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager
    from verl.trainer.ppo.reward import get_custom_reward_fn

    config = OmegaConf.create({"reward": {"custom_reward_function": PATH}})
    env = environment("math500")
    source = env.sample_source()
    row = env.row(next(env.examples("train", source)), "train", 0)
    row["reward_model"]["ground_truth"] = TRUTH
    texts = {"right": completion("1/\\sqrt{3}"), "wrong": completion("\\sqrt{5}"), "hanging": completion("9^{9^{9^9}}")}
    finished: dict[str, float] = {}

    async def run(name: str) -> dict[str, Any]:
        class Decoder:
            def decode(self, ids: Any, skip_special_tokens: bool) -> str:
                return texts[name]

        tensors = {key: torch.ones(1, 3, dtype=torch.int64) for key in ("responses", "attention_mask")}
        columns = {key: np.array([row[key]] * 1) for key in ("data_source", "reward_model", "extra_info")}
        manager = NaiveRewardManager(config, Decoder(), get_custom_reward_fn(config))
        result = await manager.run_single(DataProto(TensorDict(tensors, batch_size=1), columns))
        finished[name] = time.monotonic()
        return result

    async def all_at_once() -> dict[str, dict[str, Any]]:
        return dict(zip(texts, await asyncio.gather(*map(run, texts)), strict=True))

    math_workers.pool(math_workers.WorkerLimits(workers=2, seconds=4))
    results = asyncio.run(all_at_once())
    assert {name: result["reward_score"] for name, result in results.items()} == {"right": 1, "wrong": 0, "hanging": 0}
    assert results["hanging"]["reward_extra_info"]["timed_out"] == 1.0
    assert max(finished, key=finished.__getitem__) == "hanging"
