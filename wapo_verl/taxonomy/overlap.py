"""Compare the completions of a group in pairs: how long their beginnings agree, and which tokens they share.

    taxonomy/overlap/PAIR/divergence          number of tokens before the first that differs
    taxonomy/overlap/PAIR/divergence_share    the same, as a share of the shorter completion
    taxonomy/overlap/PAIR/contested           share of the shorter completion's places at which both have the same token
    taxonomy/overlap/PAIR/jaccard             |tokens of both| / |tokens of either|, as sets

PAIR is `winner_winner`, `winner_loser` or `loser_loser`, by the sign of the advantage; a completion with none is in no
pair. Only tokens that the policy wrote are compared, without tool results between them. Where one completion begins
with all of the other, the divergence is the shorter one's length.
"""

import torch

PAIRS = ("loser_loser", "winner_loser", "winner_winner")
"""Kinds of pairs, by the number of winners in them."""

MEASURES = ("divergence", "divergence_share", "contested", "jaccard")

COMPARED = 1 << 24
"""Tokens compared at a time, which bounds the memory for a group (16 MiB of booleans)."""

Sums = dict[str, tuple[torch.Tensor, torch.Tensor]]


@torch.no_grad()
def group_overlap(
    responses: torch.Tensor, mask: torch.Tensor, group_ids: torch.Tensor, advantages: torch.Tensor
) -> Sums:
    """Return metric name -> (sum over pairs, number of pairs), float64 scalars, for each kind of pair.

    Args:
        responses: (R, T) int64, token ids, padded.
        mask: (R, T) bool, true on tokens that the policy wrote; a row without any is skipped.
        group_ids: (R,) int64, equal for the rows of a group.
        advantages: (R,) float, above 0 for winners and below for losers; a row with 0 is skipped.
    """
    mask = mask.bool()
    tokens, lengths = _own_tokens(responses, mask)
    totals = responses.new_zeros(len(PAIRS), len(MEASURES) + 1, dtype=torch.float64)
    for group in group_ids.unique():
        rows = torch.nonzero((group_ids == group) & (lengths > 0) & (advantages != 0))[:, 0]
        if len(rows) > 1:
            totals += _group_totals(tokens[rows], lengths[rows], advantages[rows] > 0)
    return {
        f"taxonomy/overlap/{pair}/{name}": (totals[kind, column], totals[kind, -1])
        for kind, pair in enumerate(PAIRS)
        for column, name in enumerate(MEASURES)
    }


def _own_tokens(responses: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Move the tokens that the policy wrote to the front of each row: (R, L) with -1 after them, and lengths (R,)."""
    lengths = mask.sum(dim=1)
    order = torch.argsort((~mask).to(torch.uint8), dim=1, stable=True)
    moved = responses.masked_fill(~mask, -1).gather(1, order)
    return moved[:, : int(lengths.max()) if len(lengths) else 0], lengths


def _group_totals(tokens: torch.Tensor, lengths: torch.Tensor, winners: torch.Tensor) -> torch.Tensor:
    """Sum each of `MEASURES` and 1 over the pairs of a group, by kind: (3, measures + 1) float64."""
    first, second = torch.triu_indices(len(tokens), len(tokens), 1, device=tokens.device)
    shorter = torch.minimum(lengths[first], lengths[second])
    places, agreeing = _differences(tokens)
    divergence = torch.minimum(places[first, second], shorter).double()
    contested = agreeing[first, second] / shorter
    jaccard = _jaccard(tokens)[first, second]
    measures = [divergence, divergence / shorter, contested, jaccard, torch.ones_like(divergence)]
    kinds = winners[first].long() + winners[second].long()
    return divergence.new_zeros(len(PAIRS), len(measures)).index_add_(0, kinds, torch.stack(measures, dim=1))


def _differences(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where two of the (G, L) rows first differ, and at how many places they agree, each (G, G).

    The first is int64, and L where none differs; the second is float64, places behind a row's end left out.
    """
    group, length = tokens.shape
    step = max(COMPARED // (group * length), 1)
    places, agreeing = [], []
    for start in range(0, group, step):
        part = tokens[start : start + step, None]
        differ = part != tokens[None]
        place = differ.view(torch.uint8).argmax(dim=-1)  # the first of the largest
        places.append(torch.where(differ.any(dim=-1), place, length))
        agreeing.append((~differ & (part >= 0)).sum(dim=-1, dtype=torch.float64))
    return torch.cat(places), torch.cat(agreeing)


def _jaccard(tokens: torch.Tensor) -> torch.Tensor:
    """Return the Jaccard index of each two rows' token sets, (G, G) float64."""
    group = len(tokens)
    known, index = tokens.unique(return_inverse=True)
    member = torch.zeros(group, len(known), device=tokens.device).scatter_(1, index, 1.0)
    member[:, known == -1] = 0
    shared = (member @ member.T).double()
    sizes = shared.diagonal()
    return shared / (sizes[:, None] + sizes[None] - shared)
