"""Compute three sums over the next-token distribution in one pass over the logits.

Logits are read tile by tile. On a CPU a tile stays in a core's own cache for all operations, so memory is read once. A
vocabulary wider than a tile is combined from each tile's maximum and sums. Powers of two are used, because torch's
`exp2` is two to three times as fast as its `exp` on the CPUs measured.
"""

import math
from dataclasses import dataclass

import torch

CPU_TILE = 1 << 17
"""Logits in a tile, for each thread; two work buffers of this size are 1 MiB, about the size of a core's own cache."""

DEVICE_TILE = 1 << 24
"""Logits in a tile on an accelerator: two work buffers of 64 MiB, and few kernel launches."""

FLOOR = -62.0
"""The smallest exponent of two: its square is still a normal float32, and 10^6 such terms add 2e-13 to a sum of 1."""

LOG2_E = math.log2(math.e)
LN_2 = math.log(2)


@dataclass(frozen=True, slots=True)
class Statistics:
    """Sums over the next-token distribution p = softmax(z / T), each float32 and of the same shape.

    Attributes:
        collision: S = sum_j p_j^2, the probability that two draws agree.
        entropy: H = -sum_j p_j ln p_j, in nats.
        square_log_prob: sum_j p_j^2 ln p_j.
    """

    collision: torch.Tensor
    entropy: torch.Tensor
    square_log_prob: torch.Tensor


@torch.no_grad()
def token_statistics(
    logits: torch.Tensor, temperature: float | torch.Tensor = 1.0, rows: torch.Tensor | None = None
) -> Statistics:
    """Return the statistics of p = softmax(z / T) at each position, without gradient; the logits are not changed.

    A logit of -inf is a token of probability 0. A position with a NaN, with +inf or with no finite logit gives NaN.
    The memory used besides the result is two buffers of one tile, and a third where `rows` are gathered.

    Args:
        logits: (N, V) float32, bfloat16 or float16, any strides; z. float64 is read as float32.
        temperature: T > 0, a number or (N,) float.
        rows: (M,) int64, the positions to compute; None computes all.

    Returns:
        Statistics of (N,) or (M,) float32.

    Raises:
        ValueError: `logits` is not of shape (N, V), or a tensor of temperatures not of shape (N,).
    """
    if logits.dim() != 2:
        raise ValueError(f"Logits of shape {tuple(logits.shape)} are given; flatten the tokens to (N, V).")
    if isinstance(temperature, torch.Tensor) and temperature.shape != logits.shape[:1]:
        raise ValueError(f"Temperatures of shape {tuple(temperature.shape)} do not fit {len(logits)} positions.")
    tile = CPU_TILE * torch.get_num_threads() if logits.device.type == "cpu" else DEVICE_TILE
    positions, vocabulary = len(logits) if rows is None else len(rows), logits.shape[1]
    width = math.ceil(vocabulary / math.ceil(vocabulary / tile))
    height = max(tile // vocabulary, 1)
    work = torch.empty(2, height * width, device=logits.device)
    blocks = []
    for start in range(0, positions, height):
        chosen = slice(start, start + height) if rows is None else _indices(rows[start : start + height])
        scale = LOG2_E / (temperature[chosen, None].float() if isinstance(temperature, torch.Tensor) else temperature)
        tiles = [_tile_sums(tile, scale, work) for tile in logits[chosen].split(width, dim=1)]
        blocks.append(torch.stack(tiles))
    return _stitch(torch.cat(blocks, dim=2) if blocks else work.new_empty(1, 5, 0))


def _indices(rows: torch.Tensor) -> torch.Tensor | slice:
    """Return an index of `rows`: a slice where it is one row, which copies nothing."""
    if len(rows) > 1:
        return rows
    row = int(rows)
    return slice(row, row + 1)


def _tile_sums(logits: torch.Tensor, scale: float | torch.Tensor, work: torch.Tensor) -> torch.Tensor:
    """Return (5, r) float32 of a tile of logits (r, w), all relative to the tile's largest logit.

    With x_j = (z_j - max z) * scale: the largest z * scale, then the sums over the tile of 2^x, 2^x x, 2^2x and 2^2x x.
    """
    powers, terms = work[:, : logits.numel()].view(2, *logits.shape)
    if logits.dtype != torch.float32:
        logits = terms.copy_(logits)
    if isinstance(scale, torch.Tensor):
        logits, scale = torch.mul(logits, scale, out=terms), 1.0
    top = logits.amax(dim=1, keepdim=True).mul_(scale)
    torch.add(-top, logits, alpha=scale, out=terms).clamp_(min=FLOOR)
    torch.exp2(terms, out=powers)
    total = powers.sum(dim=1)
    weighted = terms.mul_(powers).sum(dim=1)
    weighted_squares = terms.mul_(powers).sum(dim=1)
    return torch.stack([top[:, 0], total, weighted, powers.square_().sum(dim=1), weighted_squares])


def _stitch(sums: torch.Tensor) -> Statistics:
    """Combine the sums of K tiles, (K, 5, N), into statistics of N distributions, computed in float64."""
    sums = sums.double()
    tops = sums[:, 0]
    total, weighted, squares, weighted_squares = sums[:, 1:].masked_fill(tops[:, None] == -torch.inf, 0).unbind(1)
    below = tops - tops.amax(dim=0)
    share, below = torch.exp2(below), below.clamp(min=-1e6)  # 2^-1e6 is 0, and 0 * -inf would be NaN
    whole = (share * total).sum(0)
    mean = (share * (weighted + below * total)).sum(0) / whole
    collision = (share**2 * squares).sum(0) / whole**2
    square_mean = (share**2 * (weighted_squares + below * squares)).sum(0) / whole**2
    log_whole = torch.log2(whole)
    return Statistics(
        collision.float(),
        ((log_whole - mean) * LN_2).float(),
        ((square_mean - collision * log_whole) * LN_2).float(),
    )
