"""SmolLM2 itself: its tokenizer against its chat template, and two steps of the example. `make smollm2` installs it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from examples.quickstart.command import Folders
from examples.quickstart.metrics import ROLLOUT_GAP, Lines, parse_row
from examples.smollm2.model import PACKAGE, READER, read_tokenizer, weights_file
from examples.smollm2.run import smollm2
from wapo_verl.rollout.template_check import check_template

pytestmark = pytest.mark.slow

CONVERSATION = [
    {"role": "system", "content": "Answer briefly."},
    {"role": "user", "content": "Where is Zürich , exactly ?"},
    {"role": "assistant", "content": "In Switzerland.\n\nIt lies on a lake 😀 ."},
    {"role": "user", "content": "<answer>12, 7</answer>"},
    {"role": "assistant", "content": "\\boxed{12}"},
]


@pytest.fixture(scope="module")
def package() -> None:
    """Skip where the model is not installed; 93 MB are nothing that a test fetches."""
    if not all(map(find_spec, (PACKAGE, READER))):
        pytest.skip("SmolLM2 is not installed: make smollm2, or make test-nightly")


@pytest.fixture(scope="module")
def tokenizer(package: None) -> Any:
    """The converted tokenizer."""
    return read_tokenizer(weights_file())


def test_a_conversation_is_encoded_as_the_template_writes_it(tokenizer: Any) -> None:
    text = tokenizer.apply_chat_template(CONVERSATION, tokenize=False)
    ids = tokenizer.apply_chat_template(CONVERSATION, tokenize=True, return_dict=False)
    assert ids == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert ids.count(tokenizer.eos_token_id) == len(CONVERSATION)
    for message in CONVERSATION:
        assert f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n" in text


def test_turns_built_one_by_one_are_the_whole_conversation(tokenizer: Any) -> None:
    checks = check_template(tokenizer, model_type="llama")
    assert not [check for check in checks if check.fix]
    assert any("You are a helpful AI" in check.result for check in checks)


def test_ends_of_turns_and_padding_are_not_the_same(tokenizer: Any) -> None:
    assert tokenizer.convert_ids_to_tokens([0, 1, 2]) == ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)


@pytest.mark.ray
@pytest.mark.nightly
def test_two_steps_train_it(package: None, tmp_path: Path) -> None:
    """The whole example; the rollout gap shows that vLLM has the actor's weights before and after a step."""
    steps = ["trainer.total_training_steps=2", "trainer.test_freq=2", "data.val_max_samples=16"]
    assert smollm2(0, tmp_path, steps, Console(width=200)) == 0
    before, *trained = map(parse_row, Lines(Folders(tmp_path).metrics).new())
    assert before.held_out is not None
    assert [row.step for row in trained] == [1, 2]
    assert trained[-1].held_out is not None
    assert all(row.values[ROLLOUT_GAP] < 1e-3 for row in trained)
    assert all(row.values["actor/grad_norm"] > 0 for row in trained)
    assert (tmp_path / "report.json").is_file()
