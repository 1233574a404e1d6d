"""Schedules over steps. No veRL, no GPU."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wapo_verl.algorithms.schedules import scheduled

VALUES = st.floats(0.01, 10.0)


@given(VALUES, VALUES, st.integers(2, 1000))
def test_a_constant_one_keeps_its_start(start: float, final: float, total: int) -> None:
    assert {scheduled(start, final, "constant", step, total) for step in (1, total // 2 + 1, total)} == {start}


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@given(start=VALUES, final=VALUES, total=st.integers(2, 1000))
def test_both_ends_are_exact_and_later_steps_keep_the_last(kind: str, start: float, final: float, total: int) -> None:
    assert scheduled(start, final, kind, 1, total) == start
    assert scheduled(start, final, kind, total, total) == final
    assert scheduled(start, final, kind, total + 5, total) == final


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize(("start", "final"), [(9.0, 0.2), (0.2, 0.3)])
def test_it_is_monotone_and_half_way_in_the_middle(kind: str, start: float, final: float) -> None:
    values = [scheduled(start, final, kind, step, 101) for step in range(1, 102)]
    assert values == sorted(values, reverse=start > final)
    assert len(set(values)) == 101
    assert values[50] == pytest.approx((start + final) / 2)


def test_cosine_starts_and_ends_slowly() -> None:
    linear, cosine = ([scheduled(0.0, 1.0, kind, step, 11) for step in (2, 10)] for kind in ("linear", "cosine"))
    assert cosine[0] < linear[0]
    assert cosine[1] > linear[1]


def test_a_run_of_one_step_has_the_start() -> None:
    assert scheduled(9.0, 0.2, "linear", 1, 1) == 9.0


@pytest.mark.parametrize(("kind", "step", "named"), [("cubic", 1, "cubic"), ("linear", 0, "step 0")])
def test_what_is_not_possible_is_named(kind: str, step: int, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        scheduled(1.0, 2.0, kind, step, 10)
