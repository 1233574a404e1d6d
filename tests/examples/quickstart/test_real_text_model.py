"""The tiny model and tokenizer for real text, on a corpus of a few lines. No GPU, no engine."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from typer.testing import CliRunner

from examples.quickstart.real_text_model import LEAST_VOCABULARY, app, make_flat_model, train_tokenizer
from examples.quickstart.tokenizer import END_OF_TEXT, SPECIAL_TOKENS, TAGS, TURN_END
from wapo_verl.rollout.chat import TurnBoundary

TEXTS = ["The quick brown fox jumps over the lazy dog.\n\nThe dog sleeps.\nThe fox runs away from the dog."] * 4
TOKENIZER = train_tokenizer(TEXTS, 300)


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
@settings(max_examples=50, deadline=None)
def test_any_text_comes_back(text: str) -> None:
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    assert TOKENIZER.decode(ids) == text


def test_tags_are_ordinary_tokens_and_the_templates_are_special() -> None:
    assert len(TOKENIZER) <= 300
    for tag in TAGS:
        assert len(TOKENIZER(tag)["input_ids"]) == 1
        assert TOKENIZER.decode(TOKENIZER(tag)["input_ids"], skip_special_tokens=True) == tag
    for token in SPECIAL_TOKENS:
        assert TOKENIZER.decode(TOKENIZER(token)["input_ids"], skip_special_tokens=True) == ""
    assert (TOKENIZER.eos_token, TOKENIZER.pad_token) == (TURN_END, END_OF_TEXT)
    assert len(TOKENIZER("\n")["input_ids"]) == 1, "veRL asks this of templates in Qwen's style"


def test_the_agent_loop_can_play_with_it() -> None:
    boundary = TurnBoundary(TOKENIZER)
    assert TOKENIZER.eos_token_id in boundary.ends
    assert (
        TOKENIZER.decode(boundary.ids("found"))
        == "<|im_end|>\n<|im_start|>user\nfound<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_vocabulary_without_room_is_refused() -> None:
    assert len(train_tokenizer(TEXTS, LEAST_VOCABULARY)) == LEAST_VOCABULARY
    with pytest.raises(ValueError, match=f"need {LEAST_VOCABULARY}"):
        train_tokenizer(TEXTS, LEAST_VOCABULARY - 1)


def test_every_next_token_is_about_equally_likely_and_the_seed_decides_the_weights() -> None:
    model = make_flat_model(TOKENIZER, seed=1)
    ids = torch.tensor([TOKENIZER("The dog sleeps.\n")["input_ids"]])
    with torch.no_grad():
        probabilities = model(ids).logits[0].softmax(-1)
    assert probabilities.max() < 2 / len(TOKENIZER)
    again, other = make_flat_model(TOKENIZER, seed=1), make_flat_model(TOKENIZER, seed=2)
    assert torch.equal(model.get_input_embeddings().weight, again.get_input_embeddings().weight)
    assert not torch.equal(model.get_input_embeddings().weight, other.get_input_embeddings().weight)


def test_the_command_writes_what_transformers_loads(tmp_path: Path) -> None:
    rows = [{"prompt": [{"role": "user", "content": text}]} for text in TEXTS]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    out = tmp_path / "model"
    result = CliRunner().invoke(
        app, [str(out), str(tmp_path / "train.parquet"), "--vocabulary", "290", "--tag", "\nAnswer: "]
    )
    assert result.exit_code == 0, result.output
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.config.vocab_size == len(tokenizer) <= 290
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer("so\nAnswer: 4")["input_ids"]) == 4, "two letters, the tag, a digit"


def test_a_file_without_rows_is_one_sentence(tmp_path: Path) -> None:
    missing, other = tmp_path / "missing.parquet", tmp_path / "other.parquet"
    pq.write_table(pa.table({"text": ["no prompt"]}), other)
    for file, problem in ((missing, "No such file"), (other, "wapo-verl prepare")):
        result = CliRunner().invoke(app, [str(tmp_path / "model"), str(file)])
        assert result.exit_code == 1
        assert file.name in result.output
        assert problem in result.output
        assert not (tmp_path / "model").exists()
