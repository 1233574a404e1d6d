"""The four chat-template families of the golden tests, each with a tokenizer that is made here (no download).

Every tokenizer is a byte-level BPE with learnt merges, the family's way to split text, and its control tokens, some of
which are not marked special (as in the published ones). Ids differ from the published ones; strings do not.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

TEMPLATES = Path(__file__).parents[1] / "wapo_verl" / "chat_templates"
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,%d}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_TEXT = [
    "You are a helpful assistant. Search, then answer. Who wrote Nimbus? Nimbus is a novel by Ada Vale.",
    "system\n\nuser\n\nassistant\n<think>I have to look.</think>\n<search>novel Nimbus</search><answer>Torrin</answer>",
    '<information>Nimbus\nNimbus is a novel</information>\n<tool_call>\n{"name": "search", "arguments": {"query": "x"}',
    "Zürich café naïve 東京 и мир 😀😃 crème brûlée\n\n\n  a  b",
]


@dataclass(frozen=True)
class Family:
    """One family: `name` is its template's file, `model_type` what a checkpoint's config.json says."""

    name: str
    model_type: str
    special: tuple[str, ...]
    control: tuple[str, ...]  # control tokens that the published tokenizer does not mark as special
    end: str  # ends a turn
    pad: str
    bos: str | None = None
    digits: int = 3
    normalises: bool = False

    def __str__(self) -> str:
        return self.name


_CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_LLAMA = ("<|begin_of_text|>", "<|end_of_text|>")
_CALL = ("<tool_call>", "</tool_call>")
_THINK = ("<tool_response>", "</tool_response>", "<think>", "</think>")
FAMILIES = (
    Family("qwen3", "qwen3", _CHATML, (*_CALL, "<|fim_prefix|>", *_THINK), "<|im_end|>", _CHATML[0], None, 1, True),
    Family("qwen2_5", "qwen2", _CHATML, (*_CALL, "<|fim_prefix|>"), "<|im_end|>", _CHATML[0], None, 1, True),
    Family("smollm3", "smollm3", (*_LLAMA, *_CHATML[1:]), (*_CALL, *_THINK), "<|im_end|>", "<|im_end|>"),
    Family(
        "llama3",
        "llama",
        (
            *_LLAMA,
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eom_id|>",
            "<|eot_id|>",
            "<|python_tag|>",
            "<|finetune_right_pad_id|>",
        ),
        (),
        "<|eot_id|>",
        "<|finetune_right_pad_id|>",
        "<|begin_of_text|>",
    ),
)


@cache
def tokenizer_of(family: Family) -> PreTrainedTokenizerFast:
    """The family's tokenizer with its chat template; one object for all tests, which do not change it."""
    tokenizer = Tokenizer(models.BPE())
    if family.normalises:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT % family.digits), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + 150, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(_TEXT, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in family.special])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in family.control])
    if family.bos:  # so does Llama's: a text encoded with special tokens gets a second one
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{family.bos} $A", special_tokens=[(family.bos, tokenizer.token_to_id(family.bos))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=family.bos,
        eos_token=family.end,
        pad_token=family.pad,
        chat_template=(TEMPLATES / f"{family.name}.jinja").read_text(),
        clean_up_tokenization_spaces=False,
    )
