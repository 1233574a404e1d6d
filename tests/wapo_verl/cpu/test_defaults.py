"""The CPU's defaults that depend on the run."""

import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from wapo_verl.cpu import defaults
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


@pytest.mark.parametrize(("trainer", "threads"), [({}, "2"), ({"val_only": False}, "2"), ({"val_only": True}, "4")])
def test_vllm_has_half_the_cores_beside_an_actor_and_all_where_nothing_is_trained(
    trainer: dict[str, bool], threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "cores", lambda: 4)
    config = OmegaConf.create({"trainer": trainer, "ray_kwargs": {"ray_init": {"address": "local"}}})
    default: Any = cpu_defaults(config)["ray_kwargs.ray_init.runtime_env.env_vars.OMP_NUM_THREADS"]
    assert default(config) == threads
