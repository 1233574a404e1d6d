"""Search-R1's parquet rows as they are: prepared, scored and played. pyarrow, no veRL but for the reward, no GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from wapo_verl.data.prepare import Request, prepare
from wapo_verl.environments.environment import Environment, Example, RowError
from wapo_verl.environments.episode import Episode
from wapo_verl.environments.protocol import Answer, Search, parse_turn
from wapo_verl.environments.raw_rows import read_rows
from wapo_verl.environments.registry import environment, environment_of
from wapo_verl.evaluation.questions import Question, refuse_same_ids
from wapo_verl.reward import RewardError, compute_score

NAMES = ("nq", "triviaqa", "popqa", "hotpotqa", "2wikimultihopqa", "musique", "bamboogle")
OPEN_QA = environment("open_qa")
PLAYED = Episode("ines calder", ("lantern keeper",), (("d1",),), turns=2)


def row(index: int, source: str, question: str, answers: list[str]) -> dict[str, Any]:
    """Return a row as Search-R1's `qa_search_train_merge.py` writes it."""
    return {
        "id": f"train_{index}",
        "question": question,
        "golden_answers": answers,
        "data_source": source,
        "prompt": [{"role": "user", "content": f"Answer the given question. Question: {question}"}],
        "ability": "fact-reasoning",
        "reward_model": {"style": "rule", "ground_truth": {"target": answers}},
        "extra_info": {"index": index, "split": "train"},
        "metadata": None,
    }


def verls_row(index: int, source: str, question: str, answers: list[str]) -> dict[str, Any]:
    """Return a row as veRL's `preprocess_search_r1_dataset.py` writes it: the question is in `extra_info`."""
    kept = row(index, f"searchR1_{source}", question, answers)
    extra = {"index": index, "need_tools_kwargs": True, "question": question, "split": "train"}
    return {name: kept[name] for name in ("data_source", "prompt", "ability", "reward_model")} | {"extra_info": extra}


ROWS = [
    row(0, "nq", "who composed the lantern keeper", ["Ines Calder", "Inés Calder"]),
    row(1, "hotpotqa", "Which lies further north, Brenholm or Tarvik?", ["Tarvik"]),
]


@pytest.mark.parametrize("source", [*NAMES, *(f"searchR1_{name}" for name in NAMES)])
def test_a_row_of_each_data_source_is_scored_as_it_is(source: str) -> None:
    truth = {"target": np.array(["Nobody", "Inés Calder", "Ines Calder"], dtype=object)}  # as parquet readers give it
    scores = compute_score(source, "", truth, {"episode": PLAYED.to_record()})
    assert scores["score"] == scores["exact_match"] == scores["f1"] == scores["retrieval_recall"] == 1.0
    wrong = compute_score(source, "", {"target": "Tarvik"}, {"episode": PLAYED.to_record()})
    assert (wrong["score"], wrong["format"]) == (0.0, 1.0)
    assert environment_of(source).name == ("hotpotqa" if source == "hotpotqa" else "open_qa")


def test_what_is_neither_ours_nor_theirs_is_named() -> None:
    with pytest.raises(RewardError, match="no environment 'mmlu'"):
        compute_score("mmlu", "", {"target": ["a"]}, {"episode": PLAYED.to_record()})
    with pytest.raises(ValueError, match=r"must have the key answers .* or target .*; it has solution"):
        compute_score("nq", "", {"solution": "a"}, {"episode": PLAYED.to_record()})
    with pytest.raises(RewardError, match="came without the record of its episode"):
        compute_score("nq", "<answer>a</answer>", {"target": ["a"]}, {})


@pytest.mark.parametrize("make", [row, verls_row])
def test_the_parquet_file_is_prepared_as_it_is(tmp_path: Path, make: Any) -> None:
    raw = [(0, "nq", "who composed the lantern keeper", ["Ines Calder", "Inés Calder"]), (1, "musique", "?!", ["x"])]
    pd.DataFrame([make(*values) for values in raw]).to_parquet(tmp_path / "train.parquet")
    prepare(Request("open_qa", tmp_path / "out", tmp_path / "train.parquet", splits=("train",)))
    rows = pq.read_table(tmp_path / "out" / "train.parquet").to_pylist()
    assert [row["reward_model"]["ground_truth"] for row in rows] == [
        {"answers": ["Ines Calder", "Inés Calder"], "document_ids": []},
        {"answers": ["x"], "document_ids": []},
    ]
    prefix = "" if make is row else "searchR1_"
    assert [row["extra_info"]["kind"] for row in rows] == [f"{prefix}nq", f"{prefix}musique"]
    ids = ["nq/train_0", "musique/train_1"] if make is row else ["searchR1_nq/0", "searchR1_musique/1"]
    assert [row["extra_info"]["id"] for row in rows] == ids
    assert {row["agent_name"] for row in rows} == {"search_agent"}
    assert "Question: who composed the lantern keeper" in rows[0]["prompt"][0]["content"]


def test_rows_of_several_data_sets_in_one_file_have_ids_of_their_own(tmp_path: Path) -> None:
    """`qa_search_test_merge.py` puts seven data sets into one file, each of which counts from test_0."""
    pd.DataFrame([row(0, name, f"who {name}", ["x"]) for name in NAMES]).to_parquet(tmp_path / "test.parquet")
    examples = OPEN_QA.examples("test", tmp_path)
    refuse_same_ids([Question.of(OPEN_QA.row(example, "test", place)) for place, example in enumerate(examples)])


@pytest.mark.parametrize("answers", [None, [], [" "], [1], 3])
def test_a_row_without_answers_is_named(tmp_path: Path, answers: Any) -> None:
    file = tmp_path / "train.jsonl"
    pd.DataFrame([{**ROWS[0], "golden_answers": answers, "reward_model": None}]).to_json(
        file, orient="records", lines=True
    )
    with pytest.raises(RowError, match=r"train\.jsonl, row 0, field 'golden_answers': must be a list of answers"):
        [OPEN_QA.example(raw) for raw in read_rows(file)]


def test_search_r1s_own_prompt_speaks_the_text_protocol() -> None:
    """So its rows can be played by `search_agent` as they are: what its paper's policy writes is read here."""
    assert parse_turn("<think>I look.</think>\n<search> lantern keeper </search>") == Search(("lantern keeper",))
    assert parse_turn("<think>Found.</think>\n<answer> Beijing </answer>") == Answer("Beijing")


def test_two_environments_that_claim_one_data_source_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(Environment):
        name, splits, data_sources = "other", ("train",), ("nq",)
        ability = "qa"

        def examples(self, split: str, source: Path | None, **options: Any) -> Any:
            return iter(())

        def prompt(self, example: Example) -> list[dict[str, str]]:
            return []

        def parts(self, episode: Episode, ground_truth: Any) -> dict[str, float]:
            return {}

    both = {"open_qa": OPEN_QA, "other": Other()}
    monkeypatch.setattr("wapo_verl.environments.registry.environments", lambda: both)
    with pytest.raises(ValueError, match="open_qa and other both score rows of the data source 'nq'"):
        environment_of("nq")
