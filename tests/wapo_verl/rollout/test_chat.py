"""The tokens between two turns, for templates of different shapes; the tokenizer is a real one, one token per byte."""

import time

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from wapo_verl.environments.protocol import neutralise
from wapo_verl.rollout.chat import ChatTemplateError, TurnBoundary, without_control_strings

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    "{% if add_generation_prompt and not think|default(true) %}<think></think>{% endif %}"
)
HEADERS = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}<|endoftext|>\n\n{{ m.content | trim }}<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant<|endoftext|>\n\n{% endif %}"
)
PLAIN = (
    "{% for m in messages %}{{ 'Q: ' if m.role == 'user' else 'A: ' }}{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}A: {% endif %}"
)


def make_tokenizer(template: str) -> PreTrainedTokenizerFast:
    vocabulary = {character: i for i, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", bos_token="<|begin|>"
    )
    fast.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    fast.chat_template = template
    return fast


@pytest.mark.parametrize("template", [CHATML, HEADERS, PLAIN])
def test_a_conversation_built_turn_by_turn_is_the_one_that_is_rendered_at_once(template: str) -> None:
    tokenizer = make_tokenizer(template)
    boundary = TurnBoundary(tokenizer)
    ask, turns, results = (
        {"role": "user", "content": "Q?"},
        ["one", "two", "three"],
        ["é 1", "<information>2</information>"],
    )
    ids = boundary.prompt([ask])
    assert ids == tokenizer.apply_chat_template([ask], add_generation_prompt=True, return_dict=False)
    messages = [ask]
    for turn, result in zip(turns, [*results, ""], strict=True):
        ids = ids + tokenizer(turn, add_special_tokens=False)["input_ids"]
        messages.append({"role": "assistant", "content": turn})
        if result:
            ids = ids + boundary.ids(result, last=ids[-1])
            messages.append({"role": "user", "content": result})
    rendered = tokenizer.apply_chat_template(messages, return_dict=False)
    assert rendered[: len(ids)] == ids
    assert len(rendered) - len(ids) <= 2  # the end of the last turn, which nobody needs


def test_an_end_of_turn_is_not_repeated() -> None:
    tokenizer = make_tokenizer(CHATML)
    boundary = TurnBoundary(tokenizer)
    end = tokenizer.eos_token_id
    assert boundary.ids("x")[0] == end
    assert boundary.ids("x", last=end) == boundary.ids("x", last=5)[1:]
    assert end in boundary.ends


def test_the_templates_arguments_are_used() -> None:
    tokenizer = make_tokenizer(CHATML)
    assert TurnBoundary(tokenizer, {"think": False}).after.endswith("assistant\n<think></think>")
    assert TurnBoundary(tokenizer).after.endswith("assistant\n")


@pytest.mark.parametrize(
    ("written", "opening"),
    [("", ""), ("<think>\\n", "<think>"), ("<think></think>", ""), ("</think><think>", "<think>")],
)
def test_a_thought_that_the_template_begins_is_known(written: str, opening: str) -> None:
    template = CHATML.replace("assistant\n{% endif", f"assistant\n{written}{{% endif")
    assert TurnBoundary(make_tokenizer(template)).opening == opening


def test_markers_are_the_special_tokens() -> None:
    markers = set(TurnBoundary(make_tokenizer(CHATML)).markers())
    assert markers == {"<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|begin|>"}


@pytest.mark.parametrize(
    "template", ["{{ messages[0].content }}", "{% for m in messages %}{{ m.content * 2 }}{% endfor %}"]
)
def test_a_template_that_cannot_hold_a_conversation_is_refused(template: str) -> None:
    with pytest.raises(ChatTemplateError, match="custom_chat_template"):
        TurnBoundary(make_tokenizer(template))


def test_a_tokenizer_with_thousands_of_control_strings_does_not_slow_every_passage_down() -> None:
    tokenizer = make_tokenizer(CHATML)
    tokenizer.add_tokens([f"<unused{number}>" for number in range(2_000)])
    boundary = TurnBoundary(tokenizer)
    assert neutralise("a <unused7> b <search>", boundary.markers()) == "a   b (search)"
    assert without_control_strings("a <unused7> b", tokenizer) == "a   b"
    started = time.perf_counter()
    for _ in range(100):
        neutralise("a title", boundary.markers())
        without_control_strings("a result", tokenizer)
    assert time.perf_counter() - started < 1.0  # it was 30 ms for each
