"""The reward function, called directly and the way veRL's reward manager calls it. No GPU, no Ray."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from omegaconf import OmegaConf

from wapo_verl import reward
from wapo_verl.environments.environment import Environment, Example
from wapo_verl.environments.episode import Episode
from wapo_verl.reward import RewardError, compute_score

TRUTH = {"answers": ["Torrin"], "document_ids": ["Ada Vale", "Nimbus"]}
GOLD = Episode("torrin", ("a",), (("Nimbus", "Ada Vale"),), turns=2).to_record()
SCREEN = "<answer>Torrin</answer> all over the screen"


class Sums(Environment):
    """A single-turn environment: it reads the completion."""

    name = "sums"
    ability = "math"
    splits = ("train",)
    agent_name = "single_turn_agent"
    reward_weights: ClassVar[dict[str, float]] = {"right": 1.0}

    def examples(self, split: str, source: Path | None, **options: Any) -> Iterator[Example]:
        return iter(())

    def prompt(self, example: Example) -> list[dict[str, str]]:
        return []

    def parts(self, episode: Episode, ground_truth: Any) -> dict[str, float]:
        return {"right": float(episode.completion.endswith(ground_truth)), "short": float(len(episode.completion) < 9)}


def test_the_episode_is_scored_and_not_the_screen() -> None:
    assert compute_score("hotpotqa", "", TRUTH, {"episode": GOLD})["score"] == 1.0
    silent = Episode(None, outcome="no_tag").to_record()
    scores = compute_score("hotpotqa", SCREEN, TRUTH, {"episode": silent})
    assert set(scores.values()) == {0.0}
    assert set(scores) == set(compute_score("hotpotqa", "", TRUTH, {"episode": GOLD}))
    assert all(type(value) is float for value in scores.values())


def test_arrays_are_taken_for_lists() -> None:
    truth = {"answers": np.array(["Torrin"], dtype=object), "document_ids": np.array(["Ada Vale"], dtype=object)}
    record = {**GOLD, "document_ids": np.array([np.array(["Ada Vale"], dtype=object)], dtype=object)}
    assert compute_score(np.str_("hotpotqa"), "", truth, {"episode": record})["score"] == 1.0


def test_given_weights_replace_the_environments() -> None:
    weights = OmegaConf.create({"exact_match": 0.5, "retrieval_recall": 0.25})
    scores = compute_score("hotpotqa", "", TRUTH, {"episode": GOLD}, weights=weights)
    assert scores["score"] == 0.75
    assert scores["exact_match"] == 1.0
    with pytest.raises(ValueError, match="elegance"):
        compute_score("hotpotqa", "", TRUTH, {"episode": GOLD}, weights={"elegance": 1.0})


def test_one_environment_can_have_weights_of_its_own() -> None:
    weights = OmegaConf.create({"hotpotqa": {"f1": 0.5}, "f1": 0.25})
    record = {"episode": GOLD}
    assert compute_score("hotpotqa", "", TRUTH, record, weights=weights)["score"] == 0.5
    assert compute_score("ottqa", "", TRUTH, record, weights=weights)["score"] == 0.25
    assert compute_score("ottqa", "", TRUTH, record, weights={"hotpotqa": {"f1": 0.5}})["score"] == 1.0
    assert compute_score("ottqa", "", TRUTH, record, weights={})["score"] == 0.0
    with pytest.raises(RewardError, match=r"weights are given for 'otqa'.*ottqa"):
        compute_score("ottqa", "", TRUTH, record, weights={"otqa": {"f1": 0.5}})


def test_an_unknown_data_source_names_the_known_ones() -> None:
    with pytest.raises(RewardError, match=r"openai/gsm8k.*hotpotqa.*ottqa"):
        compute_score("openai/gsm8k", "", "4", {})


def test_a_search_environment_needs_the_record() -> None:
    with pytest.raises(RewardError, match="search_agent"):
        compute_score("hotpotqa", SCREEN, TRUTH, {"num_turns": 2})


def test_a_single_turn_environment_reads_the_completion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reward, "environment_of", lambda name: Sums())
    assert compute_score("sums", "It is 4", "4", None) == {"score": 1.0, "right": 1.0, "short": 1.0}
    assert compute_score("sums", "It is surely 5", "4", {}) == {"score": 0.0, "right": 0.0, "short": 0.0}


def test_verls_reward_manager_brings_the_episode_from_parquet_row_to_score(tmp_path: Path) -> None:
    """A row through parquet and datasets, an agent loop's extra fields, veRL's own reward manager."""
    import datasets
    import torch
    from tensordict import TensorDict
    from verl import DataProto
    from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager
    from verl.trainer.ppo.reward import get_custom_reward_fn

    from wapo_verl.environments.registry import environment

    hotpotqa = environment("hotpotqa")
    example = Example("Where was the author of Nimbus born?", ("Torrin",), ("Ada Vale", "Nimbus"), {"id": "1"})
    file = str(tmp_path / "rows.parquet")
    datasets.Dataset.from_list([hotpotqa.row(example, "train", 0)]).to_parquet(file)
    row = datasets.load_dataset("parquet", data_files=file, cache_dir=str(tmp_path / "cache"))["train"][0]

    config = OmegaConf.create(
        {"reward": {"custom_reward_function": {"path": "pkg://wapo_verl.reward", "name": "compute_score"}}}
    )

    class Decoder:
        def decode(self, ids: Any, skip_special_tokens: bool) -> str:
            return SCREEN

    async def score(episode: Episode) -> dict[str, Any]:
        manager = NaiveRewardManager(config, Decoder(), get_custom_reward_fn(config))
        tensors = {name: torch.ones(1, 3, dtype=torch.int64) for name in ("responses", "attention_mask")}
        fields = np.array([{"episode": episode.to_record(), "turn_scores": [], "tool_rewards": []}], dtype=object)
        columns = {key: np.array([row[key]] * 1) for key in ("data_source", "reward_model", "extra_info")}
        data = DataProto(TensorDict(tensors, batch_size=1), {**columns, "tool_extra_fields": fields})
        return await manager.run_single(data)

    right = asyncio.run(score(hotpotqa.gold_episode(row)))
    assert right["reward_score"] == 1.0
    wrong = asyncio.run(score(Episode(None, ("q",), ((),), turns=2, outcome="turn_limit")))
    assert wrong["reward_score"] == 0.0
    assert set(right["reward_extra_info"]) == set(wrong["reward_extra_info"])
