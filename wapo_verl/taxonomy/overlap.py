"""Compare the completions of a group in pairs: how long their beginnings agree, and which tokens they share.

    taxonomy/overlap/PAIR/divergence          number of tokens before the first that differs
    taxonomy/overlap/PAIR/divergence_share    the same, as a share of the shorter completion
    taxonomy/overlap/PAIR/jaccard             |tokens of both| / |tokens of either|, as sets

PAIR is `winner_winner`, `winner_loser` or `loser_loser`. Only tokens that the policy wrote are compared, without tool
results between them. Where one completion begins with all of the other, the divergence is the shorter one's length.
"""

import torch

PAIRS = ("loser_loser", "winner_loser", "winner_winner")
"""Kinds of pairs, by the number of winners in them."""

COMPARED = 1 << 24
"""Tokens compared at a time, which bounds the memory for a group (16 MiB of booleans)."""

Sums = dict[str, tuple[torch.Tensor, torch.Tensor]]


@torch.no_grad()
def group_overlap(responses: torch.Tensor, mask: torch.Tensor, group_ids: torch.Tensor, winners: torch.Tensor) -> Sums:
    """Return metric name -> (sum over pairs, number of pairs), float64 scalars, for each kind of pair.

    Args:
        responses: (R, T) int64, token ids, padded.
        mask: (R, T) bool, true on tokens that the policy wrote; a row without any is skipped.
        group_ids: (R,) int64, equal for the rows of a group.
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
    """Move the tokens that the policy wrote to the front of each row: (R, L) with -1 after them, and lengths (R,)."""
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
    """Return the first place at which two of the (G, L) rows differ, (G, G) int64; L where none differs."""
    group, length = tokens.shape
    step = max(COMPARED // (group * length), 1)
    found = []
    for start in range(0, group, step):
        differ = tokens[start : start + step, None] != tokens[None]
        place = differ.view(torch.uint8).argmax(dim=-1)  # the first of the largest
        found.append(torch.where(differ.any(dim=-1), place, length))
    return torch.cat(found)


def _jaccard(tokens: torch.Tensor) -> torch.Tensor:
    """Return the Jaccard index of each two rows' token sets, (G, G) float64."""
    group = len(tokens)
    known, index = tokens.unique(return_inverse=True)
    member = torch.zeros(group, len(known), device=tokens.device).scatter_(1, index, 1.0)
    member[:, known == -1] = 0
    shared = (member @ member.T).double()
    sizes = shared.diagonal()
    return shared / (sizes[:, None] + sizes[None] - shared)
