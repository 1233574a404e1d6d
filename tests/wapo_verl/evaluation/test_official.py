"""Upstream's numbers for an evaluation's answers: those of `score`, and of the reward, to the last digit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.samples import sample

from wapo_verl.environments.episode import Episode
from wapo_verl.environments.registry import environment
from wapo_verl.evaluation.comparison import compare
from wapo_verl.evaluation.official import official_scores
from wapo_verl.evaluation.questions import QUESTIONS_FILE, Question, write_questions
from wapo_verl.evaluation.reading import read_evaluation
from wapo_verl.evaluation.report import write

ANSWERS = {
    "hotpotqa": [["The Red Keel", "red keel!"], ["Vale", "Ada Lovelace Vale"], ["yes", None], ["no it is", "no"]],
    "ottqa": [["1,204", "1204"], ["Oslo Norway", "Oslo"], [None, "the Nile"], ["a", "b"]],
}
GOLDS = {"hotpotqa": ["Red Keel", "Ada Vale", "yes", "no"], "ottqa": ["1204", "Oslo", "Nile", "Seine"]}


def evaluated(folder: Path, name: str) -> Path:
    """Write an evaluation whose samples are scored by the environment's own reward."""
    env, questions, lines = environment(name), [], []
    for place, (gold, given) in enumerate(zip(GOLDS[name], ANSWERS[name], strict=True)):
        truth = {"answers": [gold], "document_ids": []}
        row = {
            "data_source": name,
            "prompt": [{"role": "user", "content": f"{place}?"}],
            "reward_model": {"ground_truth": truth},
            "extra_info": {"question": f"{place}?", "id": f"id{place}", "split": "dev", "index": place},
            "agent_name": "search_agent",
        }
        question = Question.of(row)
        questions.append(question)
        for number, answer in enumerate(given):
            episode = Episode(answer, outcome="answered" if answer else "turn_limit")
            lines.append(
                sample(
                    place,
                    number,
                    data_source=name,
                    question_id=f"id{place}",
                    row=question.row,
                    answer=answer,
                    scores=env.score(episode, truth),
                    vote=None,
                ).line()
            )
    folder.mkdir()
    write_questions(questions, folder / QUESTIONS_FILE)
    (folder / "samples.jsonl").write_bytes(b"".join(lines))
    return folder


@pytest.mark.parametrize(("name", "exact", "f1", "scale"), [
    ("hotpotqa", "em", "f1", 1.0),
    ("ottqa", "total exact", "total f1", 100.0),
])  # fmt: skip
def test_they_are_the_rewards_to_the_last_digit(tmp_path: Path, name: str, exact: str, f1: str, scale: float) -> None:
    folder = evaluated(tmp_path / name, name)
    (found,) = official_scores(folder).values()
    means = [
        compare([read_evaluation(folder)], metric=metric).summaries[0].metrics["mean"].mean
        for metric in ("exact_match", "f1")
    ]
    assert found[exact] == pytest.approx(scale * means[0], rel=1e-15)
    assert found[f1] == pytest.approx(scale * means[1], rel=1e-15)
    assert 0 < means[0] < means[1] < 1


def test_the_files_are_those_of_score(tmp_path: Path) -> None:
    folder = evaluated(tmp_path / "a", "hotpotqa")
    official_scores(folder)
    files = [folder / "official" / f"hotpotqa.{kind}.json" for kind in ("predictions.0", "reference")]
    assert environment("hotpotqa").score_files(*files).metrics["em"] == 0.5


def test_the_summary_holds_them(tmp_path: Path) -> None:
    folder = evaluated(tmp_path / "a", "hotpotqa")
    official = official_scores(folder)
    markdown, numbers, _ = write(compare([read_evaluation(folder)]), folder, "summary", official)
    assert json.loads(numbers.read_text())["official"] == official
    assert "hotpotqa, as its official script computes it: em 0.5000, f1" in markdown.read_text()


def test_a_benchmark_without_a_script_has_none(tmp_path: Path) -> None:
    write_questions([], tmp_path / QUESTIONS_FILE)
    assert official_scores(tmp_path) == {}
