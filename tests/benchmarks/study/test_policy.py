"""The study's forward pass is the Hugging Face module's, with and without a cache. No veRL, no GPU."""

import torch

from benchmarks.study.policy import GROWTH, Policy
from examples.quickstart.model import make_model
from examples.quickstart.tokenizer import make_tokenizer

LENGTHS = (5, 17, 11, 1)
CLOSE = 1e-5


def made() -> tuple[Policy, torch.Tensor]:
    tokenizer = make_tokenizer()
    policy = Policy(make_model(tokenizer, 3, heads=2), places=128)
    generator = torch.Generator().manual_seed(0)
    return policy, torch.randint(0, len(tokenizer), (len(LENGTHS), max(LENGTHS)), generator=generator)


def reference(policy: Policy, ids: torch.Tensor) -> torch.Tensor:
    """The module's own log-probs of one row without padding, (T, vocabulary)."""
    return policy.model(input_ids=ids[None]).logits[0].log_softmax(dim=-1)


@torch.no_grad()
def test_padding_behind_a_row_changes_nothing() -> None:
    policy, ids = made()
    found = policy.log_probs(policy.all_hidden(ids))
    for row, length in enumerate(LENGTHS):
        assert (found[row, :length] - reference(policy, ids[row, :length])).abs().max() < CLOSE


@torch.no_grad()
def test_rows_fed_by_uneven_pieces_are_as_the_whole() -> None:
    policy, ids = made()
    cache, fed = policy.new_cache(len(LENGTHS)), torch.zeros(len(LENGTHS), dtype=torch.int64)
    ends = torch.tensor(LENGTHS)
    for piece in (3, 1, 40, 1):
        taken = torch.minimum(ends - fed, torch.tensor(piece) - torch.arange(len(LENGTHS)) % 2).clamp(min=0)
        width = max(int(taken.max()), 1)
        columns = (fed[:, None] + torch.arange(width)).clamp(max=ids.shape[1] - 1)
        found = policy.log_probs(policy.feed(ids.gather(1, columns), fed, cache))
        for row in range(len(LENGTHS)):
            start, count = int(fed[row]), int(taken[row])
            expected = reference(policy, ids[row, : start + count])[start:] if count else found[row, :0]
            assert torch.allclose(found[row, :count], expected, atol=CLOSE, rtol=0)
        fed = fed + taken
    assert fed.tolist() == list(LENGTHS)


@torch.no_grad()
def test_a_cache_keeps_the_rows_that_go_on_and_grows() -> None:
    policy, ids = made()
    cache = policy.new_cache(len(LENGTHS))
    policy.feed(ids[:, :4], torch.zeros(len(LENGTHS), dtype=torch.int64), cache)
    cache.keep(torch.tensor([2, 1]))
    long = ids[[2, 1], 4:].repeat(1, 4)
    assert long.shape[1] > GROWTH
    found = policy.log_probs(policy.feed(long, torch.tensor([4, 4]), cache))
    for place, row in enumerate((2, 1)):
        expected = reference(policy, torch.cat([ids[row, :4], long[place]]))[4:]
        assert (found[place] - expected).abs().max() < CLOSE
