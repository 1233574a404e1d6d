"""The CPU's defaults that depend on the run."""

import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from wapo_verl.cpu.defaults import cpu_defaults

BUCKET = "actor_rollout_ref.rollout.checkpoint_engine.update_weights_bucket_megabytes"


def bucket(path: Path | str) -> int:
    config = OmegaConf.create(
        {"actor_rollout_ref": {"model": {"path": str(path)}}, "trainer": {"n_gpus_per_node": 1}, "ray_kwargs": {}}
    )
    default: Any = cpu_defaults(config)[BUCKET]
    return int(default(config))


@pytest.mark.parametrize(
    ("model", "megabytes"),
    [
        ({"vocab_size": 49152, "hidden_size": 576}, 108),  # SmolLM2-135M: 49152 x 576 x 4 bytes are 108 x 2^20
        ({"vocab_size": 49153, "hidden_size": 576}, 109),
        ({"vocab_size": 600, "hidden_size": 96}, 16),
        ({"text_config": {"vocab_size": 151936, "hidden_size": 1536}, "hidden_size": 8}, 891),
        ({"model_type": "other"}, 2048),
    ],
)
def test_the_largest_weight_has_room_on_its_way_to_vllm(tmp_path: Path, model: dict[str, Any], megabytes: int) -> None:
    (tmp_path / "config.json").write_text(json.dumps(model))
    assert bucket(tmp_path) == megabytes


def test_a_model_on_the_hub_gets_verls_own_size() -> None:
    assert bucket("HuggingFaceTB/SmolLM2-135M-Instruct") == 2048
