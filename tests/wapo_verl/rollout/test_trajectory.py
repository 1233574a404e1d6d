"""The three lists of an episode's response cannot come apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wapo_verl.rollout.trajectory import Trajectory

pieces = st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 9), min_size=1, max_size=5)), max_size=6)


@given(pieces)
def test_the_lists_have_one_length_and_the_mask_says_who_wrote(pieces: list[tuple[bool, list[int]]]) -> None:
    trajectory = Trajectory(prompt=[1], limit=30)
    for policy, ids in pieces:
        if policy:
            trajectory.add_turn(ids, [-1.0] * len(ids))
        else:
            trajectory.add_environment(ids)
    assert trajectory.ids == [token for _, ids in pieces for token in ids]
    assert trajectory.mask == [int(policy) for policy, ids in pieces for _ in ids]
    assert trajectory.log_probs == [-1.0 * mask for mask in trajectory.mask]
    assert trajectory.room == 30 - len(trajectory.ids)


def test_what_an_engine_must_not_return_is_refused() -> None:
    trajectory = Trajectory(prompt=[1], limit=3)
    with pytest.raises(ValueError, match="without a single token"):
        trajectory.add_turn([], None)
    with pytest.raises(ValueError, match="2 tokens with 1 log-probs"):
        trajectory.add_turn([1, 2], [-1.0])
    with pytest.raises(ValueError, match="4 tokens do not fit"):
        trajectory.add_turn([1, 2, 3, 4], None)
    trajectory = Trajectory(prompt=[1], limit=3)
    trajectory.add_turn([1], [-1.0])
    with pytest.raises(ValueError, match="some turns"):
        trajectory.add_turn([1], None)
