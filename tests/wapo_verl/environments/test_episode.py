"""The record of an episode: which answers give none. No veRL, no GPU."""

from __future__ import annotations

import pytest

from wapo_verl.environments.episode import says_nothing


@pytest.mark.parametrize(
    "answer", [None, "", " ?! ", "I don't know.", "i do  NOT know", "Unknown", "no answer", "N.O.A.N.S.W.E.R"]
)
def test_answers_that_give_none(answer: str | None) -> None:
    assert says_nothing(answer)


@pytest.mark.parametrize(
    "answer", ["no", "yes", "The Unknown Soldier", "I don't know who", "0", "東京", "I Don't Know How"]
)
def test_answers_that_give_one(answer: str) -> None:
    assert not says_nothing(answer)
