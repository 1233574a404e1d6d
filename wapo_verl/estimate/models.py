"""Hold the shape of a dense decoder (Llama, Qwen2, Qwen3, SmolLM3), from its `config.json` or from a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODEL_TYPES = ("llama", "qwen2", "qwen3", "smollm3")


@dataclass(frozen=True, slots=True)
class Shape:
    """What a decoder's weights, activations and cache follow from.

    Attributes:
        kind: `model_type` of the configuration, one of `MODEL_TYPES`.
        hidden: width of the residual stream, h.
        layers: number of decoder layers, L.
        heads: number of query heads.
        key_heads: number of key heads; values have as many.
        head: width of a head.
        intermediate: width of the feed-forward layer, f.
        vocabulary: number of token ids, V.
        tied: whether the head is the embedding.
    """

    kind: str
    hidden: int
    layers: int
    heads: int
    key_heads: int
    head: int
    intermediate: int
    vocabulary: int
    tied: bool

    @property
    def queries(self) -> int:
        """Width of all query heads together, q."""
        return self.heads * self.head

    @property
    def keys(self) -> int:
        """Width of all key heads together, k."""
        return self.key_heads * self.head

    @property
    def has_query_norm(self) -> bool:
        """Whether queries and keys are normalised (Qwen3)."""
        return self.kind == "qwen3"

    @property
    def linears(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of each linear map of a layer."""
        h, q, k, f = self.hidden, self.queries, self.keys, self.intermediate
        return ((h, q), (h, k), (h, k), (q, h), (h, f), (h, f), (f, h))

    @property
    def layer_weights(self) -> int:
        """Weights of one layer: its linear maps, their biases (Qwen2's q, k and v), and its norms."""
        biases = self.queries + 2 * self.keys if self.kind == "qwen2" else 0
        norms = 2 * self.hidden + (2 * self.head if self.has_query_norm else 0)
        return sum(inputs * outputs for inputs, outputs in self.linears) + biases + norms

    @property
    def outer_weights(self) -> int:
        """Weights outside the layers: the embedding, the head where it is another matrix, the last norm."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2) + self.hidden

    @property
    def weights(self) -> int:
        """All weights, N."""
        return self.layers * self.layer_weights + self.outer_weights

    @property
    def multiplied_weights(self) -> int:
        """Weights that every token is multiplied with: the linear maps and the head, not the look-up of an id."""
        layers = self.layers * sum(inputs * outputs for inputs, outputs in self.linears)
        return layers + self.vocabulary * self.hidden

    def lora_weights(self, rank: int) -> int:
        """Count LoRA's weights on all linear maps but the head (PEFT's `all-linear`): rank x (in + out) each."""
        return self.layers * sum(rank * (inputs + outputs) for inputs, outputs in self.linears)


KNOWN: Mapping[str, Shape] = {
    "HuggingFaceTB/SmolLM2-135M": Shape("llama", 576, 30, 9, 3, 64, 1536, 49152, tied=True),
    "HuggingFaceTB/SmolLM3-3B": Shape("smollm3", 2048, 36, 16, 4, 128, 11008, 128256, tied=True),
    "Qwen/Qwen2.5-0.5B": Shape("qwen2", 896, 24, 14, 2, 64, 4864, 151936, tied=True),
    "Qwen/Qwen2.5-1.5B": Shape("qwen2", 1536, 28, 12, 2, 128, 8960, 151936, tied=True),
    "Qwen/Qwen2.5-3B": Shape("qwen2", 2048, 36, 16, 2, 128, 11008, 151936, tied=True),
    "Qwen/Qwen2.5-7B": Shape("qwen2", 3584, 28, 28, 4, 128, 18944, 152064, tied=False),
    "Qwen/Qwen3-1.7B": Shape("qwen3", 2048, 28, 16, 8, 128, 6144, 151936, tied=True),
    "Qwen/Qwen3-4B": Shape("qwen3", 2560, 36, 32, 8, 128, 9728, 151936, tied=True),
    "meta-llama/Llama-3.2-3B": Shape("llama", 3072, 28, 24, 8, 128, 8192, 128256, tied=True),
}
"""Hub name -> shape, from `https://huggingface.co/NAME/blob/main/config.json`."""

VARIANTS = ("-Instruct", "-Base", "-Instruct-2507")
"""What a hub name may end with: such a model has the same shape."""


def shape_of(path: str) -> Shape:
    """Return the shape of a model that is a local folder or has a place in `KNOWN`.

    Raises:
        ValueError: where it is neither, or of a kind whose formulas are not written down here.
    """
    file = Path(path).expanduser() / "config.json"
    if file.is_file():
        try:
            config = json.loads(file.read_text(encoding="utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{file} is no JSON text ({error}): copy the model's again") from error
        if not isinstance(config, dict):
            raise ValueError(f"{file} holds no JSON object: copy the model's again")
        return _of_config(config, file)
    name = path.replace("Qwen2.5-Math-", "Qwen2.5-")
    for variant in VARIANTS:
        name = name.removesuffix(variant)
    if name not in KNOWN:
        raise ValueError(
            f"the shape of {path} is not known: name a folder that holds the model's config.json "
            f"(actor_rollout_ref.model.path), or one of {', '.join(KNOWN)}"
        )
    return KNOWN[name]


def _of_config(config: Mapping[str, Any], file: Path) -> Shape:
    kind = str(config.get("model_type"))
    if kind not in MODEL_TYPES:
        raise ValueError(f"{file}: model_type {kind!r} has no formulas here; there are {', '.join(MODEL_TYPES)}")

    def size(name: str, default: int | None = None) -> int:
        value = default if config.get(name) is None else config[name]
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{file}: {name} must be a whole number of at least 1, not {value!r}")
        return value

    hidden, heads = size("hidden_size"), size("num_attention_heads")
    return Shape(
        kind=kind,
        hidden=hidden,
        layers=size("num_hidden_layers"),
        heads=heads,
        key_heads=size("num_key_value_heads", heads),
        head=size("head_dim", hidden // heads),
        intermediate=size("intermediate_size"),
        vocabulary=size("vocab_size"),
        tied=bool(config.get("tie_word_embeddings", kind == "smollm3")),
    )
