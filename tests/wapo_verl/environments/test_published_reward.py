"""The reward of WAPO's published question-answering runs, on episodes played by the rules."""

import pytest

from wapo_verl.environments.episode_rules import EpisodeLimits, EpisodeRules
from wapo_verl.environments.protocol import is_well_formed
from wapo_verl.reward import RewardError, compute_score

SEARCH = "<think>where to look</think>\n<search>Vesk</search>"
TRUTH = {"answers": ["red clay pot of Vesk"], "document_ids": ["Vesk"]}
RIGHT = "red clay pot of Vesk"
PARTLY = "red clay pot"  # three tokens of five, all of them right: F1 .75
NEARLY = "clay pot of Vesk jar"  # four of five, both ways: F1 .8


def scores(name: str, *turns: str, weights: str = "published", agent: str = "search_agent") -> dict[str, float]:
    """Play the turns and score the episode's record."""
    rules = EpisodeRules.of(agent, EpisodeLimits())
    for turn in turns[:-1]:
        rules.turn(turn)
        rules.show([("Vesk", ["Vesk"])])
    episode = rules.turn(turns[-1])
    return compute_score(name, "", TRUTH, {"episode": episode.to_record()}, weights)


def answer(text: str, thought: str = "<think>so</think> ") -> str:
    return f"{thought}<answer>{text}</answer>"


@pytest.mark.parametrize("name", ["hotpotqa", "ottqa"])
@pytest.mark.parametrize(
    ("turns", "score", "exact_match"),
    [
        ((SEARCH, answer(NEARLY)), 0.846, 0.0),
        ((SEARCH, answer("blue")), 0.231, 0.0),
        ((answer(RIGHT),), 0.769, 1.0),
        ((SEARCH, answer(RIGHT, thought="")), 0.885, 1.0),
        ((SEARCH, answer(PARTLY)), (0.3 + 0.75) / 1.3, 0.0),
        ((SEARCH, answer(RIGHT)), 1.0, 1.0),
    ],
)
def test_it_pays_what_the_authors_code_pays(
    name: str, turns: tuple[str, ...], score: float, exact_match: float
) -> None:
    found = scores(name, *turns)
    assert found["score"] == pytest.approx(score, abs=5e-4)
    assert found["exact_match"] == exact_match
    assert scores(name, *turns, weights="exact_match")["score"] == exact_match


def test_a_yes_with_words_around_it_is_paid_in_part_as_squad_does() -> None:
    """HotpotQA's own F1 is 0 there, and stays what the part `f1` is."""
    truth = {"answers": ["yes"], "document_ids": []}
    rules = EpisodeRules.of("search_agent", EpisodeLimits())
    record = rules.turn(answer("yes indeed")).to_record()
    found = compute_score("hotpotqa", "", truth, {"episode": record}, "published")
    assert (found["f1"], found["squad_f1"]) == (0.0, pytest.approx(2 / 3))
    assert found["score"] == pytest.approx(2 / 3 / 1.3)


@pytest.mark.parametrize(
    ("turn", "last", "expected"),
    [
        (SEARCH, False, True),
        (f"  {SEARCH}\n", False, True),
        (f"{SEARCH}<|im_end|>\n", False, True),
        (SEARCH, True, True),
        (answer("x"), True, True),
        (answer("x"), False, False),  # an answer is for the last turn
        (f"{SEARCH} and more", False, False),
        (f"well, {SEARCH}", False, False),
        ("<search>Vesk</search>", False, False),
        ("thought</think><search>Vesk</search>", False, False),
        ("<think> </think><search>Vesk</search>", False, False),
        ("<think>a</think><search> </search>", False, False),
        ("<think>a <b>bold</b> thought</think><search>Vesk</search>", False, False),
        ("<think>a</think><search>Vesk</search><search>Vesk</search>", False, False),
        ("<think>a</think><think>b</think><search>Vesk</search>", False, False),
        ("<think>a < b, c > d</think><search>Vesk</search>", False, True),
        ("", True, False),
    ],
)
def test_a_turn_is_a_thought_and_an_action_and_nothing_else(turn: str, last: bool, expected: bool) -> None:
    assert is_well_formed(turn, "search", last) is expected


def test_a_call_of_the_tool_is_an_action() -> None:
    call = '<think>a</think><tool_call>{"name": "search", "arguments": {"query_list": ["Vesk"]}}</tool_call>'
    found = scores("ottqa", call, answer(RIGHT), agent="search_tool_agent")
    assert (found["turn_format"], found["score"]) == (1.0, pytest.approx(1.0))


def test_weights_of_an_unknown_name_are_refused() -> None:
    with pytest.raises(
        RewardError, match=r"'ottqa' has no reward weights called 'publshed'; it has exact_match, publis"
    ):
        scores("ottqa", answer(RIGHT), weights="publshed")
