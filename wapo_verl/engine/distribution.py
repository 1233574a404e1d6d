"""The token taxonomy's statistics of the actor's next-token distribution, from logits in whatever layout they come.

Layouts: one padded row a sequence; all sequences packed into one; and under Ulysses sequence parallelism a rank's own
part of the packed one. Only positions that predict a token the policy wrote are looked at.
The sums themselves are in `wapo_verl.taxonomy.statistics`.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu
from verl.utils.ulysses import get_ulysses_sequence_parallel_rank

from wapo_verl.engine.response_tokens import ResponseTokens
from wapo_verl.taxonomy.statistics import Statistics, token_statistics

STATISTICS = tuple(field.name for field in fields(Statistics))


def packed_statistics(
    engine: Any, logits: torch.Tensor, output_args: Mapping[str, Any], micro_batch: TensorDict
) -> dict[str, torch.Tensor]:
    """Return each statistic at every position of the packed sequences, zero where no own token is predicted.

    Args:
        engine: veRL's FSDP engine, which knows how its packed parts are put together again.
        logits: (B, S, V) padded, (1, P, V) packed, or a rank's part of the latter; before the temperature.
        output_args: as `prepare_model_inputs` returned them, with the temperatures and the packed padding.
        micro_batch: what the logits were computed for.

    Returns:
        Name of a statistic -> jagged nested (B, prompt + response), float32, without gradient.
    """
    tokens = ResponseTokens.of(micro_batch)
    wanted, offsets = tokens.positions[tokens.own], micro_batch["input_ids"].offsets()
    if tu.get_non_tensor_data(data=micro_batch, key="use_remove_padding", default=True):
        packed = _of_packed(engine, logits, output_args, wanted, int(offsets[-1]))
    else:
        packed = _of_padded(logits, output_args, wanted, tokens.rows[tokens.own], offsets)
    return {
        name: torch.nested.nested_tensor_from_jagged(values.contiguous(), offsets)
        for name, values in zip(STATISTICS, packed.unbind(dim=1), strict=True)
    }


def _of_packed(
    engine: Any, logits: torch.Tensor, output_args: Mapping[str, Any], wanted: torch.Tensor, total: int
) -> torch.Tensor:
    """Return (total, 3) of packed logits (1, P, V); a rank of a sequence-parallel group holds one P-th part of all."""
    here, padding = logits.squeeze(0), int(output_args["pad_size"])
    marked = torch.zeros(total + padding, dtype=torch.bool, device=wanted.device)
    marked[wanted] = True
    first = len(here) * get_ulysses_sequence_parallel_rank() if engine.use_ulysses_sp else 0
    rows = marked[first : first + len(here)].nonzero().flatten()
    temperature = _temperature(output_args, "temperature_rmpad", here)
    values = _scattered(token_statistics(here, temperature, rows), rows, len(here))
    return engine._gather_and_unpad_packed(values, padding)


def _of_padded(
    logits: torch.Tensor,
    output_args: Mapping[str, Any],
    wanted: torch.Tensor,
    rows: torch.Tensor,
    offsets: torch.Tensor,
) -> torch.Tensor:
    """Return (total, 3) of padded logits (B, S, V)."""
    width = logits.shape[1]
    temperature = _temperature(output_args, "temperature", logits)
    if isinstance(temperature, torch.Tensor):
        temperature = temperature.repeat_interleave(width)
    here = wanted - offsets[rows] + rows * width
    found = token_statistics(logits.reshape(-1, logits.shape[-1]), temperature, here)
    return _scattered(found, wanted, int(offsets[-1]))


def _temperature(output_args: Mapping[str, Any], name: str, logits: torch.Tensor) -> float | torch.Tensor:
    """Return what veRL divides these logits by, in their own dtype as veRL does."""
    if output_args.get("temperature_is_one", False):
        return 1.0
    return output_args[name].clamp(min=1e-8).to(logits.dtype)


def _scattered(found: Statistics, places: torch.Tensor, total: int) -> torch.Tensor:
    """Put statistics of M positions in their places: (total, 3) float32, zero elsewhere."""
    values = torch.stack([getattr(found, name) for name in STATISTICS], dim=1)
    return values.new_zeros(total, len(STATISTICS)).index_copy_(0, places, values)
