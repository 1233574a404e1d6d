"""The record of an episode: what is noted while it is played, and which answers give none. No veRL, no GPU."""

from __future__ import annotations

import pytest

from wapo_verl.environments.episode import Episode, Recorder, says_nothing


def test_what_is_noted_is_what_the_record_holds() -> None:
    record = Recorder()
    record.wrote("<search>a</search>")
    record.searched("a", ["d1", "d2"])
    assert record.turns == 1
    record.wrote("<answer>b</answer>")
    assert record.end("answered", "b") == Episode(
        answer="b",
        queries=("a",),
        document_ids=(("d1", "d2"),),
        turns=2,
        completion="<search>a</search>\n<answer>b</answer>",
    )
    with pytest.raises(ValueError, match="'no_tag' has no answer"):
        record.end("no_tag", "b")


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
