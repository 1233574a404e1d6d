"""The tiny model: its size, its determinism, and that what is saved is what every loader gets back."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from examples.quickstart.model import HEAD_SIZE, make_model
from examples.quickstart.tokenizer import make_tokenizer

TOKENIZER = make_tokenizer()


def test_it_is_small_and_has_heads_that_vllm_takes_on_the_cpu() -> None:
    model = make_model(TOKENIZER, seed=0)
    assert sum(weight.numel() for weight in model.parameters()) < 300_000
    assert model.config.head_dim == HEAD_SIZE == 32
    assert model.get_input_embeddings().weight is model.lm_head.weight
    assert all(weight.dtype == torch.float32 for weight in model.parameters())


def test_a_seed_gives_one_model_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (make_model(TOKENIZER, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_the_saved_model_loads_and_gives_the_same_logits(tmp_path: Path) -> None:
    model = make_model(TOKENIZER, seed=3)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        torch.testing.assert_close(loaded(input_ids=ids).logits, model(input_ids=ids).logits)
