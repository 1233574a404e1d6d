"""Compute the tiny model's forward pass, written once for training and for sampling with a cache.

It reads the weights of the Hugging Face module and computes what that module computes, for rows of different lengths:
a row's tokens stand at places 0, 1, 2 ... whatever the others do. Only Qwen3's dense layers are written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Qwen3ForCausalLM

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, queries, keys, values), each (B, T, heads, head size) -> the attention's output of the same shape."""


GROWTH = 32
"""Places that a cache gets at once where it is too narrow."""


@dataclass(slots=True)
class Cache:
    """Keys and values of the tokens that were fed, one pair of (B, places, heads, head size) a layer."""

    keys: list[Tensor]
    values: list[Tensor]

    def reach(self, places: int) -> None:
        """Make room for that many places."""
        missing = places - self.keys[0].shape[1]
        if missing > 0:
            more = (0, 0, 0, 0, 0, missing + GROWTH)
            self.keys = [functional.pad(keys, more) for keys in self.keys]
            self.values = [functional.pad(values, more) for values in self.values]

    def keep(self, rows: Tensor) -> None:
        """Keep these rows alone, in their order."""
        self.keys = [keys[rows] for keys in self.keys]
        self.values = [values[rows] for values in self.values]


class Policy:
    """A Qwen3 model with the two ways of running it that a study needs."""

    def __init__(self, model: Qwen3ForCausalLM, places: int) -> None:
        """Prepare the rotations for `places` places; the weights stay the model's own parameters."""
        self.model = model
        config = model.config
        self.heads, self.head_size = config.num_attention_heads, config.head_dim
        if config.num_key_value_heads != self.heads:
            raise ValueError("the study's forward pass has one key head for each query head; this model shares them")
        self.epsilon = config.rms_norm_eps
        frequencies = model.model.rotary_emb.inv_freq.double()
        angles = torch.arange(places, dtype=torch.float64)[:, None] * frequencies[None, :]
        both = torch.cat([angles, angles], dim=-1)
        self.cosines, self.sines = both.cos().float(), both.sin().float()

    def all_hidden(self, ids: Tensor) -> Tensor:
        """Final hidden states (B, T, hidden) of right-padded (B, T) ids; padding is behind all that is real."""
        places = torch.arange(ids.shape[1]).expand_as(ids)

        def attend(_: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            found = functional.scaled_dot_product_attention(
                queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2), is_causal=True
            )
            return found.transpose(1, 2)

        return self._run(ids, places, attend)

    def new_cache(self, rows: int) -> Cache:
        """An empty cache for `rows` rows."""
        shape = (rows, GROWTH, self.heads, self.head_size)
        layers = range(len(self.model.model.layers))
        return Cache([torch.zeros(shape) for _ in layers], [torch.zeros(shape) for _ in layers])

    def feed(self, ids: Tensor, starts: Tensor, cache: Cache) -> Tensor:
        """Feed (B, M) more ids, the first of row b standing at place starts[b]; their hidden states, (B, M, hidden).

        What is fed beyond a row's real tokens must be fed over later: it lies behind them and is then overwritten.
        """
        places = starts[:, None] + torch.arange(ids.shape[1])
        rows = torch.arange(len(ids))[:, None]
        width = int(places.max()) + 1
        cache.reach(width)
        visible = (torch.arange(width) <= places[..., None])[:, None]

        def attend(layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            cache.keys[layer][rows, places] = keys
            cache.values[layer][rows, places] = values
            found = functional.scaled_dot_product_attention(
                queries.transpose(1, 2),
                cache.keys[layer][:, :width].transpose(1, 2),
                cache.values[layer][:, :width].transpose(1, 2),
                attn_mask=visible,
            )
            return found.transpose(1, 2)

        return self._run(ids, places, attend)

    def log_probs(self, hidden: Tensor) -> Tensor:
        """Log-probabilities over the vocabulary, (..., vocabulary) for (..., hidden)."""
        return torch.log_softmax(functional.linear(hidden, self.model.lm_head.weight), dim=-1)

    def _run(self, ids: Tensor, places: Tensor, attend: Attend) -> Tensor:
        inner = self.model.model
        cosines, sines = self.cosines[places][:, :, None], self.sines[places][:, :, None]
        stream = functional.embedding(ids, inner.embed_tokens.weight)
        for number, layer in enumerate(inner.layers):
            part, wide = layer.self_attn, (*ids.shape, 3 * self.heads, self.head_size)
            joined = torch.cat([part.q_proj.weight, part.k_proj.weight, part.v_proj.weight])
            mixed = functional.linear(self._norm(stream, layer.input_layernorm.weight), joined).view(wide)
            queries, keys, values = mixed.split(self.heads, dim=2)
            queries = _rotated(self._norm(queries, part.q_norm.weight), cosines, sines)
            keys = _rotated(self._norm(keys, part.k_norm.weight), cosines, sines)
            found = attend(number, queries, keys, values).reshape(*ids.shape, -1)
            stream = stream + functional.linear(found, part.o_proj.weight)
            network = layer.mlp
            inward = self._norm(stream, layer.post_attention_layernorm.weight)
            gate = functional.silu(functional.linear(inward, network.gate_proj.weight))
            raised = gate * functional.linear(inward, network.up_proj.weight)
            stream = stream + functional.linear(raised, network.down_proj.weight)
        return self._norm(stream, inner.norm.weight)

    def _norm(self, values: Tensor, weight: Tensor) -> Tensor:
        return functional.rms_norm(values, weight.shape, weight, self.epsilon)


def _rotated(values: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    first, second = values.chunk(2, dim=-1)
    return values * cosines + torch.cat([-second, first], dim=-1) * sines
