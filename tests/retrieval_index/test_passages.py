"""Cutting to a budget: never over it, never inside a word, at a line or sentence where one fits."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval_index.passages import cut_to_budget

TEXT = st.text(alphabet=st.sampled_from("ab AB.?! \n\n|1\"'。é"), max_size=120)


def words(text: str) -> int:
    return len(text.split())


def uneven(text: str) -> int:
    """A count that, as with merging tokenisers, can shrink when text is added."""
    return len(text) - 3 * text.count("ab")


@settings(deadline=None)
@given(text=TEXT, budget=st.integers(0, 60), count=st.sampled_from([words, len, uneven]))
def test_the_budget_holds_and_the_result_is_a_beginning(text: str, budget: int, count) -> None:
    cut = cut_to_budget(text, budget, count)
    assert text.startswith(cut)
    assert cut == "" or count(cut) <= budget
    if count(text) <= budget:
        assert cut == text


@settings(deadline=None)
@given(text=TEXT, budget=st.integers(0, 30))
def test_no_word_is_cut_and_nothing_hangs_on(text: str, budget: int) -> None:
    cut = cut_to_budget(text, budget, words)
    if cut != text:
        assert cut == cut.rstrip()
        whole = {len(text[:end].rstrip()) for end in range(len(text) + 1) if text[end : end + 1].isspace()}
        assert len(cut) in whole | {0, len(text.rstrip())} or text[len(cut) - 1] in ".?!。\"'"


@settings(deadline=None)
@given(text=TEXT, budget=st.integers(1, 30))
def test_with_a_steady_count_some_text_is_kept_if_its_first_word_fits(text: str, budget: int) -> None:
    assert cut_to_budget(text, budget, words) or not text.strip()


def test_sentences_stay_whole() -> None:
    text = "J. K. Rowling wrote it in 1997 . It sold well ! Then came a film."
    assert cut_to_budget(text, 14, words) == "J. K. Rowling wrote it in 1997 . It sold well !"
    assert cut_to_budget(text, 8, words) == "J. K. Rowling wrote it in 1997 ."
    assert cut_to_budget(text, 4, words) == "J. K. Rowling wrote"


def test_table_rows_stay_whole() -> None:
    table = "Films\nMarkdown Table:\n| Year | Title |\n| --- | --- |\n| 1997 | Mr. Bean ! The Film |\n| 2001 | Up |"
    assert cut_to_budget(table, 20, words) == "Films\nMarkdown Table:\n| Year | Title |\n| --- | --- |"
    assert cut_to_budget(table, 22, words).endswith("The Film |")


def test_passages_stay_whole() -> None:
    assert cut_to_budget("Otter\nEats fish\n\nHeron\nEats frogs", 4, words) == "Otter\nEats fish\n\nHeron"


def test_a_word_that_does_not_fit_gives_nothing() -> None:
    assert cut_to_budget("incomprehensibilities", 3, len) == ""
    assert cut_to_budget("a b", 0, words) == ""


def test_counting_is_done_a_logarithmic_number_of_times() -> None:
    calls = []

    def count(text: str) -> int:
        calls.append(text)
        return words(text)

    cut_to_budget("A sentence of six words. " * 5000, 900, count)
    assert len(calls) < 20


def test_a_negative_budget_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        cut_to_budget("a", -1, len)


@pytest.mark.parametrize("run", ["!", "\n", " \n", ". ", '."', "a"])
def test_a_long_run_of_one_thing_takes_linear_time(run: str) -> None:
    """Going through it again from each of its characters took tens of seconds, in which no other episode went on."""
    text = f"It begins. {run * 20_000}b and ends."
    started = time.perf_counter()
    assert text.startswith(cut_to_budget(text, 2, words))
    assert time.perf_counter() - started < 1.0
