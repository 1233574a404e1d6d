"""The repetition rate against counting by hand, on random rows: torch only, no veRL, no GPU."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wapo_verl.metrics.repetition import repetition_metrics, repetition_rates


def by_hand(tokens: list[int], mask: list[int], n: int) -> float:
    ngrams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1) if all(mask[i : i + n])]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[list[int]], list[list[int]]]:
    width, rows = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    token, flag = st.sampled_from([0, 1, 2, 250_000]), st.sampled_from([0, 1, 1, 1])
    row = {"min_size": width, "max_size": width}
    return (
        [draw(st.lists(token, **row)) for _ in range(rows)],
        [draw(st.lists(flag, **row)) for _ in range(rows)],
    )


@given(batches(), st.integers(1, 4))
def test_it_is_what_counting_gives(batch: tuple[list[list[int]], list[list[int]]], n: int) -> None:
    responses, mask = batch
    rates = repetition_rates(torch.tensor(responses), torch.tensor(mask), n)
    assert rates.tolist() == pytest.approx([by_hand(t, m, n) for t, m in zip(responses, mask, strict=True)])


def test_a_loop_is_near_one_and_plain_writing_is_zero() -> None:
    responses = torch.stack((torch.tensor([5, 6] * 50), torch.arange(100)))
    assert repetition_rates(responses, torch.ones(2, 100)).tolist() == pytest.approx([1 - 2 / 97, 0.0])


def test_the_same_text_in_two_completions_is_no_repetition() -> None:
    assert repetition_metrics(torch.arange(8).repeat(3, 1), torch.ones(3, 8)) == {"episode/repetition_rate": 0.0}


def test_padding_passages_and_what_reaches_over_them_do_not_count() -> None:
    """Two turns 1 2 3 4 with a passage between: the n-gram is repeated once, and none joins turn and passage."""
    responses = torch.tensor([[1, 2, 3, 4, 9, 9, 9, 9, 9, 1, 2, 3, 4, 0, 0, 0, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0]])
    assert repetition_rates(responses, mask).tolist() == [0.5]


def test_nothing_to_count_is_zero_and_an_empty_batch_has_no_metric() -> None:
    assert repetition_rates(torch.tensor([[1, 2]]), torch.ones(1, 2)).tolist() == [0.0]
    assert repetition_rates(torch.zeros(2, 6, dtype=torch.int64), torch.zeros(2, 6)).tolist() == [0.0, 0.0]
    assert repetition_metrics(torch.zeros(0, 6, dtype=torch.int64), torch.zeros(0, 6)) == {}
