"""How much the completions of one group have in common, by who won: where they part, and which tokens they share.

    taxonomy/overlap/PAIR/divergence          own tokens before the first that differs
    taxonomy/overlap/PAIR/divergence_share    the same, as a share of the shorter completion
    taxonomy/overlap/PAIR/jaccard             |tokens of both| / |tokens of either|, as sets

PAIR is `winner_winner`, `winner_loser` or `loser_loser`. A completion is its own tokens, one after the other: what
tools returned in between is not looked at. Where one completion begins with the whole other, they part at its end.
"""

import torch

PAIRS = ("loser_loser", "winner_loser", "winner_winner")
"""By the number of winners in the pair."""

COMPARED = 1 << 24
"""Tokens compared at a time: what bounds the memory of a group (16 MiB of booleans)."""

Sums = dict[str, tuple[torch.Tensor, torch.Tensor]]


@torch.no_grad()
def group_overlap(responses: torch.Tensor, mask: torch.Tensor, group_ids: torch.Tensor, winners: torch.Tensor) -> Sums:
    """Return name -> (sum over pairs, number of pairs) of every measure and kind of pair, float64 scalars.

    Args:
        responses: (R, T) int64, padded.
        mask: (R, T) bool, true on tokens the policy wrote. A row without any is left out.
        group_ids: (R,) int64, equal on the rows of a group.
        winners: (R,) bool.
    """
    mask = mask.bool()
    tokens, lengths = _own_tokens(responses, mask)
    totals = responses.new_zeros(len(PAIRS), 4, dtype=torch.float64)
    for group in group_ids.unique():
        rows = torch.nonzero((group_ids == group) & (lengths > 0))[:, 0]
        if len(rows) > 1:
            totals += _group_totals(tokens[rows], lengths[rows], winners[rows].bool())
    return {
        f"taxonomy/overlap/{pair}/{name}": (totals[kind, column], totals[kind, 3])
        for kind, pair in enumerate(PAIRS)
        for column, name in enumerate(("divergence", "divergence_share", "jaccard"))
    }


def _own_tokens(responses: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Move each row's own tokens to its front: (R, L) with -1 behind them, and lengths (R,)."""
    lengths = mask.sum(dim=1)
    order = torch.argsort((~mask).to(torch.uint8), dim=1, stable=True)
    moved = responses.masked_fill(~mask, -1).gather(1, order)
    return moved[:, : int(lengths.max()) if len(lengths) else 0], lengths


def _group_totals(tokens: torch.Tensor, lengths: torch.Tensor, winners: torch.Tensor) -> torch.Tensor:
    """Sum divergence, its share, Jaccard and 1 over the pairs of a group, by kind: (3, 4) float64."""
    first, second = torch.triu_indices(len(tokens), len(tokens), 1, device=tokens.device)
    shorter = torch.minimum(lengths[first], lengths[second])
    divergence = torch.minimum(_first_difference(tokens)[first, second], shorter).double()
    measures = [divergence, divergence / shorter, _jaccard(tokens)[first, second], torch.ones_like(divergence)]
    kinds = winners[first].long() + winners[second].long()
    return divergence.new_zeros(len(PAIRS), 4).index_add_(0, kinds, torch.stack(measures, dim=1))


def _first_difference(tokens: torch.Tensor) -> torch.Tensor:
    """Return where two rows (G, L) first differ, (G, G) int64; L where they never do."""
    group, length = tokens.shape
    step = max(COMPARED // (group * length), 1)
    found = []
    for start in range(0, group, step):
        differ = tokens[start : start + step, None] != tokens[None]
        place = differ.view(torch.uint8).argmax(dim=-1)  # the first of the largest
        found.append(torch.where(differ.any(dim=-1), place, length))
    return torch.cat(found)


def _jaccard(tokens: torch.Tensor) -> torch.Tensor:
    """Return the Jaccard index of the rows' token sets, (G, G) float64; a set knows the group's own tokens only."""
    group = len(tokens)
    known, index = tokens.unique(return_inverse=True)
    member = torch.zeros(group, len(known), device=tokens.device).scatter_(1, index, 1.0)
    member[:, known == -1] = 0
    shared = (member @ member.T).double()
    sizes = shared.diagonal()
    return shared / (sizes[:, None] + sizes[None] - shared)
