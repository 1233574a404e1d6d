"""The warm start on a few updates: the loss falls, the folder loads, the second call trains nothing."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer
from wapo_verl.environments.installed.miniwiki.names import HELD_OUT, KINDS, part_names

from examples.quickstart.settings import WarmStartSettings
from examples.quickstart.tokenizer import make_tokenizer
from examples.quickstart.warm_start import (
    RECORD_NAME,
    WarmStart,
    cache_key,
    conversations,
    losses_of,
    make_batch,
    tokenize,
    warm_start,
)
from wapo_verl.environments.protocol import render_answer, render_information, render_search

TINY = WarmStartSettings(worlds=1, books=20, batch_size=8, warm_up_steps=5, max_plateau_steps=20, decay_steps=10)


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> WarmStart:
    return warm_start(tmp_path_factory.mktemp("warm") / "model", seed=1, settings=TINY, console=quiet())


def test_the_loss_falls(trained: WarmStart) -> None:
    assert len(trained.losses) == TINY.max_plateau_steps + TINY.decay_steps
    assert sum(trained.losses[-5:]) < 0.6 * sum(trained.losses[:5])


def test_the_folder_loads_with_the_automatic_classes(trained: WarmStart) -> None:
    tokenizer = AutoTokenizer.from_pretrained(trained.directory)
    model = AutoModelForCausalLM.from_pretrained(trained.directory, dtype=torch.float32)
    assert len(tokenizer) == model.config.vocab_size
    assert torch.isfinite(model(**tokenizer("Where was it born?", return_tensors="pt")).logits).all()


def test_the_second_call_trains_nothing_and_says_so(trained: WarmStart) -> None:
    console = quiet()
    again = warm_start(trained.directory, seed=1, settings=TINY, console=console)
    assert again.cached
    assert again.losses == trained.losses
    assert "not trained again" in said(console)


def test_the_same_seed_gives_the_same_weights_elsewhere(trained: WarmStart, tmp_path: Path) -> None:
    again = warm_start(tmp_path / "model", seed=1, settings=TINY, console=quiet())
    assert again.losses == trained.losses
    first, second = ((folder / "model.safetensors").read_bytes() for folder in (trained.directory, again.directory))
    assert first == second


def test_another_setting_trains_again_in_the_same_folder(tmp_path: Path) -> None:
    short = replace(TINY, max_plateau_steps=2, decay_steps=1)
    warm_start(tmp_path / "model", seed=1, settings=short, console=quiet())
    other = warm_start(tmp_path / "model", seed=1, settings=replace(short, decay_steps=2), console=quiet())
    assert not other.cached
    assert len(other.losses) == 4
    assert [folder.name for folder in tmp_path.iterdir()] == ["model"]


def test_the_plateau_ends_when_the_loss_is_low(tmp_path: Path) -> None:
    settings = replace(TINY, learned_loss=100.0, max_plateau_steps=30, decay_steps=2)
    assert len(warm_start(tmp_path / "model", seed=1, settings=settings, console=quiet()).losses) == 22


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds no warm start"):
        warm_start(tmp_path, seed=1, settings=TINY, console=quiet())
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_damaged_record_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / RECORD_NAME).write_text("{")
    with pytest.raises(ValueError, match=RECORD_NAME):
        warm_start(tmp_path, seed=1, settings=TINY, console=quiet())


def test_the_key_depends_on_seed_settings_and_passages() -> None:
    keys = {cache_key(1, TINY, 3), cache_key(2, TINY, 3), cache_key(1, TINY, 2), cache_key(1, WarmStartSettings(), 3)}
    assert len(keys) == 4
    assert cache_key(1, TINY, 3) in keys


def test_demonstrations_never_show_a_held_out_name() -> None:
    held_out = {name for kind in KINDS for name in part_names(kind, HELD_OUT)}
    for seed in range(3):
        text = " ".join(m["content"] for messages in conversations(seed, TINY, 3) for m in messages)
        for mark in "<>/.?":
            text = text.replace(mark, " ")
        assert not held_out & set(text.split())


def test_the_policy_mask_covers_what_assistants_wrote_and_nothing_else() -> None:
    tokenizer = make_tokenizer()
    question = {"role": "user", "content": "Where was the author of Baliad born?"}
    passage = {"role": "user", "content": render_information(["Hamalda assistant was born in Braxford."])}
    search, answer = render_search("Hamalda"), render_answer("Braxford")
    long = [question, {"role": "assistant", "content": search}, passage, {"role": "assistant", "content": answer}]
    ids, policy = make_batch(
        tokenize([long, [question, {"role": "assistant", "content": search}]], tokenizer), tokenizer
    )
    assert tokenizer.decode(ids[0][policy[0]]) == tokenizer.decode(tokenizer.encode(search + answer))
    assert tokenizer.decode(ids[1][policy[1]]) == tokenizer.decode(tokenizer.encode(search))


def test_losses_do_not_depend_on_padding(trained: WarmStart) -> None:
    tokenizer = make_tokenizer()
    model = AutoModelForCausalLM.from_pretrained(trained.directory, dtype=torch.float32)
    examples = tokenize(conversations(0, TINY, 3)[:1], tokenizer)
    ids, policy = make_batch(examples, tokenizer)
    padded = torch.nn.functional.pad(ids, (0, 7), value=tokenizer.pad_token_id)
    longer = torch.nn.functional.pad(policy, (0, 7))
    for one, other in zip(
        losses_of(model, ids, policy, tokenizer.pad_token_id),
        losses_of(model, padded, longer, tokenizer.pad_token_id),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
