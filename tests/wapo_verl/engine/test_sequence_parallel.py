"""Slow: the taxonomy's statistics under sequence parallelism, two processes over gloo. No Ray, no GPU."""

from pathlib import Path

import pytest
import torch
from support.ranks import run_ranks

WORKER = Path(__file__).with_name("sequence_parallel_worker.py")
PROMPTS, LENGTHS, VOCABULARY = (3, 1, 2), (4, 6, 1), 11

pytestmark = pytest.mark.slow


def test_each_rank_looks_at_its_part_and_gets_the_whole(tmp_path: Path) -> None:
    """17 positions: the middle sequence lies on both ranks; the last rank has one of padding, whose logits are NaN."""
    torch.manual_seed(0)
    total = sum(PROMPTS) + sum(LENGTHS)
    logits, temperature = 3 * torch.randn(total, VOCABULARY), 0.5 + torch.rand(total)
    fields = {
        "prompts": [torch.zeros(length, dtype=torch.int64) for length in PROMPTS],
        "responses": [torch.zeros(length, dtype=torch.int64) for length in LENGTHS],
        "response_mask": [torch.tensor([1, 0, 1, 1]), torch.ones(6, dtype=torch.int64), torch.tensor([1])],
        "input_ids": [torch.zeros(sum(pair), dtype=torch.int64) for pair in zip(PROMPTS, LENGTHS, strict=True)],
    }
    torch.save({"fields": fields, "logits": logits, "temperature": temperature}, tmp_path / "inputs.pt")
    run_ranks(WORKER, [str(tmp_path / "inputs.pt"), str(tmp_path / "out.pt")], ranks=2)
    found = torch.load(tmp_path / "out.pt")
    own = [2, 4, 5, 7, 8, 9, 10, 11, 12, 15]  # the positions before own tokens
    p = (logits.double() / temperature.double().unsqueeze(-1)).softmax(dim=-1)[own]
    expected = {
        "collision": p.square().sum(dim=-1),
        "entropy": -(p * p.log()).sum(dim=-1),
        "square_log_prob": (p.square() * p.log()).sum(dim=-1),
    }
    for name, values in expected.items():
        torch.testing.assert_close(found[name][own].double(), values, rtol=1e-5, atol=1e-6)
        others = [position for position in range(total) if position not in own]
        assert not found[name][others].any()
