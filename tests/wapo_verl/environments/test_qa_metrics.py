"""Answer metrics: the official scripts' cases, and what must hold for any two texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wapo_verl.environments.qa_metrics import Metric, best, exact_match, hotpotqa_f1, normalise_answer, ottqa_f1

# Words that normalisation and the yes/no rule act on, so that equal and overlapping answers are drawn often.
answers = st.one_of(
    st.text(max_size=20),
    st.lists(
        st.sampled_from(["the", "A", "an", "yes", "No", "noanswer", "Red", "keel", "keel.", "-", "U.S.", "é"]),
        max_size=5,
    ).map(" ".join),
)
both_f1 = pytest.mark.parametrize("f1", [hotpotqa_f1, ottqa_f1])


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Red  Keel!", "red keel"),
        ("a.n.", ""),  # punctuation goes first, so an article can appear
        ("U.S.", "us"),
        ("anthem of a theatre", "anthem of theatre"),
        ("well-known", "wellknown"),
        ("“Vesk”", "“vesk”"),  # only ASCII punctuation is dropped
        ("A", ""),
        ("\tÉtat\n", "état"),
    ],
)
def test_normalisation(text: str, normal: str) -> None:
    assert normalise_answer(text) == normal


@pytest.mark.parametrize(
    ("prediction", "gold", "match", "hotpotqa", "ottqa"),
    [
        ("the red keel", "Red Keel", 1, 1, 1),
        ("red boat", "red keel", 0, 0.5, 0.5),
        ("red red keel", "red keel", 0, 0.8, 0.8),
        ("yes it is", "yes", 0, 0, 0.5),
        ("yes", "yes it is", 0, 0, 0.5),
        ("Yes.", "yes", 1, 1, 1),
        ("no", "noanswer", 0, 0, 0),
        ("the", "a", 1, 0, 1),
        ("", "vesk", 0, 0, 0),
        ("vesk", "", 0, 0, 0),
    ],
)
def test_official_cases(prediction: str, gold: str, match: float, hotpotqa: float, ottqa: float) -> None:
    assert exact_match(prediction, gold) == match
    assert hotpotqa_f1(prediction, gold) == pytest.approx(hotpotqa)
    assert ottqa_f1(prediction, gold) == pytest.approx(ottqa)


@given(answers)
def test_normalisation_is_idempotent(text: str) -> None:
    assert normalise_answer(normalise_answer(text)) == normalise_answer(text)


@both_f1
@given(prediction=answers, gold=answers)
def test_f1_is_bounded_and_symmetric(f1: Metric, prediction: str, gold: str) -> None:
    assert 0.0 <= f1(prediction, gold) <= 1.0
    assert f1(prediction, gold) == pytest.approx(f1(gold, prediction))
    assert exact_match(prediction, gold) == exact_match(gold, prediction)


@both_f1
@given(prediction=answers, gold=answers)
def test_exact_match_implies_full_f1(f1: Metric, prediction: str, gold: str) -> None:
    empty = not normalise_answer(prediction)
    for other in (gold, prediction, f"The {prediction}!"):
        if exact_match(prediction, other) and not (f1 is hotpotqa_f1 and empty):
            assert f1(prediction, other) == 1.0


@given(prediction=answers, gold=answers)
def test_the_yes_no_rule_only_lowers(prediction: str, gold: str) -> None:
    assert hotpotqa_f1(prediction, gold) <= ottqa_f1(prediction, gold)


@given(prediction=answers, golds=st.lists(answers, max_size=4))
def test_best_is_the_highest(prediction: str, golds: list[str]) -> None:
    assert best(exact_match, prediction, golds) == float(any(exact_match(prediction, gold) for gold in golds))
