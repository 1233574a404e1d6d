"""The shapes of models: weights as transformers makes them, and as the hub's model cards say. Nothing is loaded."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from wapo_verl.estimate.models import KNOWN, MODEL_TYPES, Shape, shape_of

PUBLISHED = {
    "HuggingFaceTB/SmolLM2-135M": 134_515_008,
    "HuggingFaceTB/SmolLM3-3B": 3_075_098_624,
    "Qwen/Qwen2.5-0.5B": 494_032_768,
    "Qwen/Qwen2.5-1.5B": 1_543_714_304,
    "Qwen/Qwen2.5-3B": 3_085_938_688,
    "Qwen/Qwen2.5-7B": 7_615_616_512,
    "Qwen/Qwen3-1.7B": 1_720_574_976,
    "Qwen/Qwen3-4B": 4_022_468_096,
    "meta-llama/Llama-3.2-3B": 3_212_749_824,
}
"""Weights by the safetensors' headers on the hub."""

SETTINGS = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "vocab_size": 50,
    "pad_token_id": 0,
}


def small(kind: str, **settings: object) -> AutoConfig:
    return AutoConfig.for_model(kind, **{**SETTINGS, "head_dim": 16, "tie_word_embeddings": True, **settings})


@pytest.mark.parametrize("name", KNOWN)
def test_the_table_has_the_published_numbers_of_weights(name: str) -> None:
    assert KNOWN[name].weights == PUBLISHED[name]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_weights_are_those_of_transformers(kind: str, tied: bool, tmp_path: Path) -> None:
    config = small(kind, tie_word_embeddings=tied)
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert shape_of(str(tmp_path)).weights == sum(parameter.numel() for parameter in model.parameters())


def test_adapters_are_those_of_peft(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    config = small("qwen2")
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
        adapted = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    assert shape_of(str(tmp_path)).lora_weights(8) == trained


@pytest.mark.parametrize("name", ["Qwen/Qwen2.5-Math-1.5B-Instruct", "Qwen/Qwen2.5-1.5B-Instruct"])
def test_a_models_variants_have_its_shape(name: str) -> None:
    assert shape_of(name) is KNOWN["Qwen/Qwen2.5-1.5B"]


@pytest.mark.parametrize("name", ["google/gemma-9-1b", "Qwen/Qwen2.5-Math"])
def test_an_unknown_model_is_refused_with_the_ways_out(name: str) -> None:
    with pytest.raises(ValueError, match=r"config\.json.*SmolLM3-3B"):
        shape_of(name)


def test_a_mixture_of_experts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen3_moe"}')
    with pytest.raises(ValueError, match="qwen3_moe"):
        shape_of(str(tmp_path))


def test_widths() -> None:
    shape = Shape("qwen3", 2560, 36, 32, 8, 128, 9728, 151936, tied=True)
    assert (shape.queries, shape.keys) == (4096, 1024)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "config.json is no JSON text"),
        ("[" * 100_000, "config.json is no JSON text"),
        ("[]", "config.json holds no JSON object"),
        ("{}", "model_type 'None' has no formulas here"),
        ('{"model_type": "qwen2"}', "hidden_size must be a whole number of at least 1, not None"),
        (json.dumps(SETTINGS | {"model_type": "qwen2", "num_attention_heads": 0}), "num_attention_heads must be"),
        (json.dumps(SETTINGS | {"model_type": "qwen2", "vocab_size": "x"}), "vocab_size must be .* not 'x'"),
    ],
)
def test_a_damaged_config_is_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=said) as caught:
        shape_of(str(tmp_path))
    assert str(caught.value).startswith(str(tmp_path / "config.json"))
