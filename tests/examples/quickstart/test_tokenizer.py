"""The tiny tokenizer: one token a word, name piece and tag; decoding gives words back; pieces encode alike."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers.decoders import DecodeStream
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from wapo_verl.environments.installed.miniwiki import ENVIRONMENT
from wapo_verl.environments.installed.miniwiki.names import KINDS, PARTS, part_names

from examples.quickstart.model import make_model
from examples.quickstart.tokenizer import TAGS, TURN_END, make_tokenizer, vocabulary
from wapo_verl.environments.protocol import (
    STOP_STRINGS,
    Answer,
    Search,
    parse_turn,
    render_answer,
    render_information,
    render_passage,
    render_search,
)

TOKENIZER = make_tokenizer()
NAMES = [name for kind in KINDS for part in PARTS for name in part_names(kind, part)]
VISIBLE = string.ascii_letters + string.digits + string.punctuation


def encode(text: str, tokenizer: PreTrainedTokenizerFast = TOKENIZER) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def test_every_name_is_two_tokens_and_decodes_to_itself() -> None:
    for name in NAMES:
        ids = encode(name)
        assert len(ids) == 2
        assert TOKENIZER.decode(ids) == name


def test_every_word_of_the_world_is_known_without_single_letters() -> None:
    texts = [document.text for document in ENVIRONMENT.documents(seed=5)]
    texts += [example.question for example in ENVIRONMENT.examples("train", seed=5, comparison_share=0.5)]
    for text in texts:
        tokens = TOKENIZER.tokenize(text)
        assert all(len(token.removeprefix("##")) > 1 or not token[-1].isalnum() for token in tokens), tokens
        assert TOKENIZER.decode(encode(text)) == text


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_is_one_token_that_skipping_special_tokens_keeps(tag: str) -> None:
    assert len(encode(tag)) == 1
    assert encode(f"Where{tag}born")[1] == encode(tag)[0]
    assert TOKENIZER.decode(encode(tag), skip_special_tokens=True) == tag


@given(name=st.sampled_from(NAMES))
def test_decoding_token_by_token_ends_with_the_stop_string_and_nothing_after(name: str) -> None:
    stream = DecodeStream(skip_special_tokens=True)  # what vLLM finds stop strings with
    text = ""
    for token in encode(render_search(name)):
        assert not text.endswith(STOP_STRINGS)
        text += stream.step(TOKENIZER.backend_tokenizer, token) or ""
    assert text.endswith("</search>")
    assert parse_turn(text) == Search((name,))


def test_ids_are_the_vocabulary_in_order() -> None:
    assert TOKENIZER.convert_ids_to_tokens(range(len(TOKENIZER))) == vocabulary()
    assert TOKENIZER.eos_token_id == encode(TURN_END)[0]


@given(name=st.sampled_from(NAMES), more=st.sampled_from(["", " 1850", " school"]))
def test_query_and_answer_read_from_decoded_turns_are_what_was_written(name: str, more: str) -> None:
    for rendered, turn in (
        (render_search(name + more), Search((name + more,))),
        (f"<think>{name}</think>{render_answer(name + more)}", Answer(name + more)),
    ):
        ids = encode(rendered)
        assert parse_turn(TOKENIZER.decode(ids, skip_special_tokens=True)) == turn
        assert encode(TOKENIZER.decode(ids)) == ids
        assert TOKENIZER.decode(ids).endswith(STOP_STRINGS)


@settings(max_examples=200)
@given(st.lists(st.text(alphabet=VISIBLE, min_size=1, max_size=30), max_size=8))
def test_visible_ascii_round_trips_word_by_word_without_unknown_tokens(typed: list[str]) -> None:
    text = " ".join(typed)
    assume(TOKENIZER.unk_token not in text)  # hypothesis draws strings of the code, too
    ids = encode(text)
    assert TOKENIZER.unk_token_id not in ids
    assert TOKENIZER.decode(ids).replace(" ", "") == text.replace(" ", "")


@settings(max_examples=50)
@given(names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=4), answer=st.sampled_from(NAMES))
def test_a_conversation_encoded_in_pieces_has_the_ids_of_the_whole(names: list[str], answer: str) -> None:
    messages = [{"role": "user", "content": f"Where was the author of {names[0]} born?"}]
    for name in names:
        passages = [render_passage("", f"The book {name} was written by {answer}."), render_passage(name, answer)]
        messages.append({"role": "assistant", "content": render_search(name)})
        messages.append({"role": "user", "content": render_information(passages)})
    messages.append({"role": "assistant", "content": render_answer(answer)})
    whole = TOKENIZER.apply_chat_template(messages, tokenize=True, return_dict=False)
    pieces: list[int] = []
    for message in messages:
        prompt = TOKENIZER.apply_chat_template([message], tokenize=False)
        header, content, end = prompt.partition(message["content"])
        pieces += encode(header) + encode(content) + encode(end)
    assert pieces == whole


def test_a_generation_prompt_continues_into_the_rendered_turn() -> None:
    messages = [{"role": "user", "content": "Where was the author of Balford born?"}]
    turn = {"role": "assistant", "content": render_search("Baliad")}
    prompt = TOKENIZER.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
    whole = TOKENIZER.apply_chat_template([*messages, turn], tokenize=True, return_dict=False)
    assert prompt + encode(turn["content"]) + encode(TURN_END) == whole


def test_the_saved_folder_loads_with_the_automatic_class_beside_the_model(tmp_path: Path) -> None:
    make_model(TOKENIZER, seed=0).save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "<search>Baliad</search>Where was\n\nit written? x=1"
    assert encode(text, loaded) == encode(text)
    assert loaded.decode(encode(text)) == TOKENIZER.decode(encode(text))
    assert loaded.chat_template == TOKENIZER.chat_template
