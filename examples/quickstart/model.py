"""Make the quickstart's tiny Qwen3-type model: a quarter of a million random weights, loadable by every engine.

`warm_start` trains it first. It is not a Qwen2 model, because transformers 5 uses Qwen2's own tokenizer class for every
model of that type, whatever tokenizer lies beside it.
"""

from __future__ import annotations

import torch
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

HEAD_SIZE = 32  # the smallest that vLLM's attention on the CPU takes
WEIGHT_DEVIATION = 0.1  # about 1/sqrt(hidden size); at the usual 0.02 this small a model takes far longer to copy


def make_model(
    tokenizer: PreTrainedTokenizerFast, seed: int, heads: int = 3, positions: int = 2048
) -> Qwen3ForCausalLM:
    """Make a random model in float32 for the tokenizer's vocabulary; the same arguments give the same weights.

    Args:
        tokenizer: its vocabulary is the model's.
        seed: of the weights.
        heads: attention heads; the hidden size is 32 times this.
        positions: the longest sequence, in tokens.
    """
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=HEAD_SIZE * heads,
        intermediate_size=2 * HEAD_SIZE * heads,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=HEAD_SIZE,
        max_position_embeddings=positions,
        initializer_range=WEIGHT_DEVIATION,
        tie_word_embeddings=True,
        use_sliding_window=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(config)
