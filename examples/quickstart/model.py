"""The tiny Qwen3-style model of the quickstart: a quarter of a million weights, made here, loadable by every engine.

Only its shape and its random start; what it learns first is in ``warm_start``. Not Qwen2: transformers 5 takes Qwen2's
own tokenizer class for every model of that type, whatever tokenizer lies beside it.
"""

from __future__ import annotations

import torch
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

HEAD_SIZE = 32  # the smallest that vLLM's attention on the CPU takes
WEIGHT_DEVIATION = 0.1  # about 1/sqrt(hidden size); at the usual 0.02 this small a model takes far longer to copy


def make_model(
    tokenizer: PreTrainedTokenizerFast, seed: int, heads: int = 3, layers: int = 2, positions: int = 2048
) -> Qwen3ForCausalLM:
    """A randomly started model in float32 for the tokenizer's vocabulary, the same for the same arguments.

    Its hidden size is 32 x ``heads``. Embeddings are tied.
    """
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=HEAD_SIZE * heads,
        intermediate_size=2 * HEAD_SIZE * heads,
        num_hidden_layers=layers,
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
