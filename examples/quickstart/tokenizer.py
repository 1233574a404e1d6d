"""Make the tiny model's tokenizer: one token for each word, name piece and tag of miniwiki, characters for the rest.

White space only separates: two words have the same ids with one space or two line breaks between them. So text that is
encoded piece by piece gives the ids of the whole, and decoding joins words by one space. Any printable ASCII text is
encoded without unknown tokens, by characters where needed. The protocol's tags are ordinary tokens, not special ones:
engines drop special tokens from the text they return, and would never see the stop string.
"""

from __future__ import annotations

import re
import string

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
)
from transformers import PreTrainedTokenizerFast
from wapo_verl.environments.installed.miniwiki.names import KINDS, heads, tails
from wapo_verl.environments.installed.miniwiki.world import BRIDGE_QUESTIONS, COMPARISON_QUESTION, TEXTS, YEARS

END_OF_TEXT, TURN_START, TURN_END, UNKNOWN = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|unknown|>"
SPECIAL_TOKENS = (END_OF_TEXT, TURN_START, TURN_END, UNKNOWN)
TAGS = tuple(f"<{slash}{name}>" for name in ("think", "search", "answer", "information") for slash in ("", "/"))
ROLES = ("system", "user", "assistant", "tool")
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def template_words() -> list[str]:
    """Return the words of miniwiki's questions and documents, without punctuation, sorted."""
    texts = [*BRIDGE_QUESTIONS.values(), COMPARISON_QUESTION, *TEXTS.values(), *map(str, YEARS)]
    return sorted({word for text in texts for word in re.findall(r"\w+", re.sub(r"{\w*}", " ", text))})


def vocabulary() -> list[str]:
    """Return all tokens in the order of their ids; a token that continues a word starts with `##`."""
    names = [head for kind in KINDS for head in heads(kind)] + ["##" + tail for kind in KINDS for tail in tails(kind)]
    characters = [c for c in string.printable if not c.isspace()]
    characters += ["##" + c for c in characters]
    tokens = [*SPECIAL_TOKENS, *TAGS, *ROLES, *template_words(), *names, *characters]
    return list(dict.fromkeys(tokens))


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Make the tokenizer, with a chat template in Qwen's style; it is the same every time."""
    model = models.WordPiece(
        vocab={token: index for index, token in enumerate(vocabulary())},
        unk_token=UNKNOWN,
        continuing_subword_prefix="##",
        max_input_chars_per_word=1000,
    )
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        unk_token=UNKNOWN,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )
