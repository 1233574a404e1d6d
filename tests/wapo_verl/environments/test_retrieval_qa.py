"""Scoring of a search episode: only the recorded answer counts, and retrieval recall is over all queries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wapo_verl.environments.episode import Episode
from wapo_verl.environments.raw_rows import RawRow
from wapo_verl.environments.registry import environment
from wapo_verl.environments.retrieval_qa import retrieval_recall

TRUTH = {"answers": ["Vesk", "island of Vesk"], "document_ids": ["Ilse Maru", "Orlin Harbour"]}
ids = st.lists(st.sampled_from("abcdef"), max_size=4)


def test_parts_are_named_and_weighted() -> None:
    env = environment("hotpotqa")
    episode = Episode("the Island", queries=("maru", "harbour"), document_ids=(("Ilse Maru", "Vesk"), ()), turns=3)
    parts = {"exact_match": 0.0, "f1": pytest.approx(0.5), "format": 1.0, "turn_format": 0.0, "retrieval_recall": 0.5}
    assert env.score(episode, TRUTH) == {
        "score": 0.0,
        **parts,
        "squad_f1": pytest.approx(0.5),
        "supporting_fact_recall": 0.5,
    }
    weights = {"exact_match": 1, "f1": 0.5, "format": 0.1, "retrieval_recall": 0.2}
    assert env.score(episode, TRUTH, weights)["score"] == pytest.approx(0.25 + 0.1 + 0.1)


@pytest.mark.parametrize("name", ["hotpotqa", "ottqa"])
def test_the_prompt_promises_what_the_rows_were_asked_to(name: str) -> None:
    """So that a run with fewer turns, or more queries a call, need not lie to its policy."""
    options: dict[str, Any] = {"max_turns": 4, "queries_per_call": 2}
    for agent, promised in (("search_agent", ["4 turns"]), ("search_tool_agent", ["4 turns", "up to 2 queries"])):
        env = environment(name).played_by(agent)
        for split, chosen in (("dev", options), ("train", {})):
            example = next(iter(env.examples(split, env.sample_source(), **chosen)))
            row = env.row(example, split, 0)
            expected = chosen or {"max_turns": 10, "queries_per_call": 3}
            assert {key: row["extra_info"][key] for key in options} == expected
            assert all(text in row["prompt"][0]["content"] for text in promised) == bool(chosen)
    with pytest.raises(ValueError, match="option 'max_turns' must be at least 1, not 0"):
        env.resolve_options({"max_turns": 0})


def test_any_accepted_answer_counts() -> None:
    assert environment("ottqa").score(Episode("The Island of Vesk"), TRUTH)["score"] == 1.0


def test_an_answer_in_a_passage_or_in_the_completion_earns_nothing() -> None:
    episode = Episode(None, queries=("Vesk",), document_ids=(("Vesk",),), outcome="turn_limit", completion="Vesk")
    parts = environment("hotpotqa").parts(episode, TRUTH)
    assert set(parts.values()) == {0.0}


def test_a_gold_answer_that_normalises_to_nothing_is_not_won_by_a_blank() -> None:
    truth = {"answers": ["A"], "document_ids": ["t"]}  # a real OTT-QA answer
    env = environment("ottqa")
    for answer in ("A", "A.", '"a"', " A\n"):
        assert env.score(Episode(answer), truth)["score"] == 1.0
    parts = env.parts(Episode("  "), truth)
    assert [parts[name] for name in ("exact_match", "f1", "format", "retrieval_recall")] == [0.0] * 4


def test_each_benchmark_has_its_own_f1() -> None:
    truth = {"answers": ["yes"], "document_ids": ["t"]}
    assert environment("hotpotqa").parts(Episode("yes indeed"), truth)["f1"] == 0.0
    assert environment("ottqa").parts(Episode("yes indeed"), truth)["f1"] == pytest.approx(2 / 3)


def test_supporting_facts_are_counted_by_fact_and_titles_by_page() -> None:
    """Two facts on one page, one on another: the page with two is worth more."""
    hotpotqa = environment("hotpotqa")
    raw = {
        "_id": "1", "question": "q", "answer": "a", "type": "bridge",
        "supporting_facts": [["Vesk", 0], ["Vesk", 3], ["Vesk", 0], ["Nimbus", 1]],
    }  # fmt: skip
    example = hotpotqa.example(RawRow(Path("rows.json"), 0, raw))
    truth = hotpotqa.ground_truth(example)
    assert truth == {"answers": ["a"], "document_ids": ["Vesk", "Nimbus"], "fact_titles": ["Vesk", "Vesk", "Nimbus"]}
    parts = hotpotqa.parts(Episode("a", ("q",), (("Vesk", "Brae"),)), truth)
    assert parts["retrieval_recall"] == 0.5
    assert parts["supporting_fact_recall"] == pytest.approx(2 / 3)
    assert hotpotqa.score(Episode("b", ("q",), (("Vesk",),)), truth, {"supporting_fact_recall": 0.3})["score"] == (
        pytest.approx(0.2)
    )


@pytest.mark.parametrize("slash", ["/", ""])
def test_tables_and_passages_are_counted_apart(slash: str) -> None:
    """Ids of passages are "/wiki/..." in upstream's files and "wiki/..." from some servers: the same documents."""
    ottqa = environment("ottqa")
    truth = {"answers": ["a"], "document_ids": ["Ferries_0", "/wiki/Brae", "/wiki/Orlin_Harbour"]}
    episode = Episode("a", ("q", "r"), (("Ferries_0", "Ferries_1"), (f"{slash}wiki/Brae", "Brae")))
    parts = ottqa.parts(episode, truth)
    assert (parts["table_recall"], parts["passage_recall"]) == (1.0, 0.5)
    assert parts["retrieval_recall"] == pytest.approx(2 / 3)
    assert ottqa.parts(Episode("a"), truth)["table_recall"] == 0.0
    alone = ottqa.parts(Episode("a"), {"answers": ["a"], "document_ids": ["Ferries_0"]})
    assert (alone["table_recall"], alone["passage_recall"]) == (0.0, 1.0), "no passage to miss"


@given(retrieved=st.lists(ids, max_size=3), gold=ids)
def test_recall_is_a_share_and_more_queries_never_lower_it(retrieved: list[list[str]], gold: list[str]) -> None:
    recall = retrieval_recall(retrieved, gold)
    assert 0.0 <= recall <= 1.0
    assert retrieval_recall([*retrieved, gold], gold) == 1.0
    assert retrieval_recall([*retrieved, ["a"]], gold) >= recall
