"""Which rows an update takes: no Ray, no GPU; veRL for its dealing only."""

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wapo_verl.training.row_selection import MiniBatch, balanced, forward_rows, members, mini_batches


def dealt(lengths: Sequence[int], ranks: int) -> list[list[int]]:
    """Deal rows over ranks like cards, longest first."""
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    return [order[rank::ranks] for rank in range(ranks)]


@st.composite
def cases(draw: st.DrawFn) -> dict:
    ranks, micro, micro_count, count = (draw(st.integers(1, 4)) for _ in range(4))
    mini = ranks * micro * micro_count
    rows = mini * count
    return {
        "carries": draw(st.lists(st.booleans(), min_size=rows, max_size=rows)),
        "lengths": draw(st.lists(st.integers(1, 99), min_size=rows, max_size=rows)),
        "ranks": ranks,
        "mini_batch_rows": mini,
        "micro_batch_rows": draw(st.sampled_from([micro, None])),
    }


@given(cases())
def test_every_row_with_an_advantage_is_in_its_own_mini_batch_once(case: dict) -> None:
    found = mini_batches(**case, partition=dealt)
    whole = members(len(case["carries"]), case["ranks"], case["mini_batch_rows"])
    trained = [numbers for numbers in whole if any(case["carries"][number] for number in numbers)]
    assert len(found) == len(trained), "a mini-batch without an advantage is skipped, and no other"
    for batch, numbers in zip(found, trained, strict=True):
        assert set(batch.rows) <= set(numbers)
        assert len(set(batch.rows)) == len(batch.rows)
        carrying = [number for number in numbers if case["carries"][number]]
        assert set(carrying) <= set(batch.rows)
        each, left = divmod(len(batch.rows), case["ranks"])
        assert left == 0
        if case["micro_batch_rows"] is None:
            assert batch.micro_batch_rows is None
            assert len(batch.rows) - len(carrying) < case["ranks"]
        else:
            assert batch.micro_batch_rows is not None
            assert each % batch.micro_batch_rows == 0
            assert batch.micro_batch_rows <= case["micro_batch_rows"]
            assert each // batch.micro_batch_rows <= -(-len(carrying) // (case["ranks"] * case["micro_batch_rows"]))


def test_fillers_are_the_shortest_rows_that_carry_nothing() -> None:
    found = mini_batches([True, False, False, False], [9, 5, 3, 4], 2, 4, None, dealt)
    assert found == [MiniBatch(rows=(0, 2), micro_batch_rows=None)]


def test_micro_batches_stay_even() -> None:
    carries = [True] * 9 + [False] * 7
    (found,) = mini_batches(carries, [1] * 16, 1, 16, 8, dealt)
    assert (len(found.rows), found.micro_batch_rows) == (10, 5)


def test_a_batch_without_an_advantage_has_no_mini_batch() -> None:
    assert mini_batches([False] * 4, [1] * 4, 2, 2, 1, dealt) == []


@pytest.mark.parametrize("ranks", [1, 2])
def test_rows_are_dealt_as_verl_deals_them(ranks: int) -> None:
    from verl.utils.seqlen_balancing import calculate_workload, get_seqlen_balanced_partitions

    lengths = [900, 20, 400, 410, 30, 880]
    workload = calculate_workload(torch.tensor(lengths))
    theirs = get_seqlen_balanced_partitions(workload, k_partitions=ranks, equal_size=True)
    assert [list(part) for part in balanced(lengths, ranks)] == theirs


def test_a_batch_that_does_not_come_out_even_is_named() -> None:
    with pytest.raises(ValueError, match="5 rows, mini-batches of 2 and 1 ranks do not come out even"):
        members(5, 1, 2)


@given(
    st.integers(1, 3).flatmap(lambda ranks: st.tuples(st.just(ranks), st.integers(1, 12))),
    st.integers(1, 8),
    st.data(),
)
def test_forward_passes_are_as_few_as_the_micro_batch_allows(
    shape: tuple[int, int], size: int, data: st.DataObject
) -> None:
    """Chosen rows are all there, ranks and micro-batches come out even, and no more of them are made than needed."""
    ranks, share = shape
    total = ranks * share
    lengths = data.draw(st.lists(st.integers(1, 99), min_size=total, max_size=total))
    chosen = data.draw(st.lists(st.integers(0, total - 1), min_size=1, unique=True))
    rows, micro = forward_rows(chosen, lengths, ranks, size, balanced)
    assert set(chosen) <= set(rows)
    assert len(set(rows)) == len(rows)
    assert micro is not None
    assert micro <= size
    each = len(rows) // ranks
    assert each * ranks == len(rows)
    assert each % micro == 0
    needed = math.ceil(math.ceil(len(chosen) / ranks) / size)
    assert each // micro == needed or len(rows) == total, "all rows are taken where none is left to fill up with"


def test_thirteen_rows_in_micro_batches_of_eight_are_two_passes() -> None:
    rows, micro = forward_rows(range(13), [5] * 15 + [1], 1, 8, balanced)
    assert (len(rows), micro) == (14, 7)
    assert 15 in rows, "the shortest row that is left fills up"


def test_forward_passes_are_balanced_over_the_ranks() -> None:
    lengths = [100, 100, 1, 1, 50, 50, 50, 50]
    rows, micro = forward_rows(range(4), lengths, 2, None, balanced)
    loads = [sum(lengths[row] for row in rank) for rank in (rows[:2], rows[2:])]
    assert (loads, micro) == ([101, 101], None)
