"""Make a tiny random model and a tokenizer for real text, for runs that show that everything works on real data.

`python -m examples.quickstart.real_text_model OUT ROWS.parquet...` trains a byte-level BPE tokenizer on the prompts of
prepared rows, with the quickstart's special tokens, tags and chat template, and writes it beside a model of the
quickstart's shape. The model is not trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import typer
from rich.console import Console
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    trainers,
)
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from examples.quickstart.model import make_model
from examples.quickstart.tokenizer import CHAT_TEMPLATE, END_OF_TEXT, SPECIAL_TOKENS, TAGS, TURN_END
from wapo_verl.cli.one_sentence import one_sentence

POSITIONS = 2048
ROWS = 4000
"""Rows on which the tokenizer is trained; more would not change the few hundred words it learns."""

LEAST_VOCABULARY = 256 + len(SPECIAL_TOKENS) + len(TAGS)
EMBEDDING_SCALE = 0.1
"""The random model's tied embeddings are multiplied by this. With tied embeddings a random model repeats its last
token; with small ones every token is about equally likely, so that a tag is written now and then."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def prompts(files: Sequence[Path]) -> Iterator[str]:
    """Yield the text of every message of every prompt in veRL's parquet files.

    Raises:
        ValueError: for a file without rows in veRL's schema, naming it.
        OSError: when one cannot be read.
    """
    for file in files:
        try:
            for batch in pq.ParquetFile(file).iter_batches(columns=["prompt"]):
                for messages in batch.column("prompt").to_pylist():
                    yield from (message["content"] for message in messages)
        except (pa.ArrowInvalid, KeyError, TypeError) as error:
            raise ValueError(f"{file} holds no rows for veRL ({error}): make it with wapo-verl prepare") from error


def train_tokenizer(texts: Iterable[str], vocabulary: int, tags: Sequence[str] = TAGS) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer, which encodes and decodes any text without loss.

    The protocol's tags are ordinary tokens, those of the chat template are special, as in the quickstart's own
    tokenizer. A line break is one token, which veRL expects of templates in Qwen's style.

    Args:
        texts: what it is trained on.
        vocabulary: the most tokens it may have.
        tags: texts that are one token each.

    Raises:
        ValueError: for a vocabulary that has no room for the 256 bytes and the added tokens.
    """
    least = LEAST_VOCABULARY - len(TAGS) + len(tags)
    if vocabulary < least:
        raise ValueError(f"a vocabulary of {vocabulary} is too small: bytes and tags alone need {least}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(tags),
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in tags])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=POSITIONS,
    )


def make_flat_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen3ForCausalLM:
    """Make the quickstart's model with random weights and about the same probability for every next token."""
    model = make_model(tokenizer, seed, positions=POSITIONS)
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(EMBEDDING_SCALE)
    return model


@app.command()
def main(
    out: Annotated[Path, typer.Argument(help="Folder to write model and tokenizer into.")],
    rows: Annotated[list[Path], typer.Argument(help="Parquet files that wapo-verl prepare wrote.")],
    vocabulary: Annotated[int, typer.Option(help="Tokens of the tokenizer.")] = 1024,
    tag: Annotated[list[str] | None, typer.Option(help="One more text that is one token; may be repeated.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the model's weights.")] = 0,
) -> None:
    """Write a tiny random model and a tokenizer trained on the rows' prompts."""
    console = Console()
    with one_sentence():
        tokenizer = train_tokenizer(islice(prompts(rows), ROWS), vocabulary, (*TAGS, *(tag or ())))
    model = make_flat_model(tokenizer, seed)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    size = f"{len(tokenizer):,} tokens, {model.num_parameters():,} weights"
    console.print(f"model and tokenizer in {out}: {size}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    app()
