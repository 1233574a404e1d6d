"""Recorded episodes scored again: dumps of training and validation, samples of `eval`, a verifier that changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.samples import sample
from typer.testing import CliRunner

from wapo_verl.cli.app import app
from wapo_verl.evaluation.questions import QUESTIONS_FILE, Question, write_questions
from wapo_verl.evaluation.reading import read_evaluation
from wapo_verl.evaluation.rescore import rescore
from wapo_verl.evaluation.rescore_report import as_json

TRUTH = {"answers": ["Paris"], "document_ids": ["d1", "d2"]}
MATH = {"answers": [r"\frac{1}{2}"], "answer_format": "boxed", "match": "equivalent", "problem": "What is half?"}


def episode(answer: str | None, found: tuple[str, ...] = ("d1",)) -> dict[str, Any]:
    outcome = "answered" if answer else "turn_limit"
    return {"answer": answer, "outcome": outcome, "queries": ["q"], "document_ids": [list(found)], "turns": 2}


def write_dump(file: Path, lines: list[dict[str, Any]]) -> Path:
    given = {"input": "question", "output": "text", "gts": TRUTH, "step": 1}
    file.write_text("".join(json.dumps({**given, **line}) + "\n" for line in lines))
    return file


def group(*scored: tuple[str | None, float], uid: str = "g") -> list[dict[str, Any]]:
    """Return a group of a training dump: what each sample answered and scored then."""
    return [
        {"episode": episode(answer), "score": score, "exact_match": score, "uid": f"{uid}_{place}_0"}
        for place, (answer, score) in enumerate(scored)
    ]


def test_what_was_scored_right_does_not_move(tmp_path: Path) -> None:
    file = write_dump(tmp_path / "1.jsonl", group(("Paris", 1.0), ("Rome", 0.0)))
    found = rescore(file, "hotpotqa")
    assert found.moved == []
    assert found.other_signs() == {}
    assert found.parts["score"].samples == 2
    assert set(found.parts) == {"score", "exact_match"}  # the parts that the dump knows


def test_a_changed_verdict_is_told_with_the_groups_it_turns(tmp_path: Path) -> None:
    lines = group(("Paris", 0.0), ("Rome", 1.0), ("Oslo", 0.0)) + group(("Rome", 0.5), ("Oslo", 0.5), uid="h")
    found = rescore(write_dump(tmp_path / "1.jsonl", lines), "hotpotqa")
    assert [(moved.number, moved.before["score"], moved.after["score"]) for moved in found.moved] == [
        (1, 0.0, 1.0),
        (2, 1.0, 0.0),
        (4, 0.5, 0.0),
        (5, 0.5, 0.0),
    ]
    part = found.parts["score"]
    assert (part.raised, part.lowered) == (1, 3)
    assert found.other_signs() == {"g": 2}  # all of h stay at their mean


def test_other_weights_are_another_reward(tmp_path: Path) -> None:
    file = write_dump(tmp_path / "1.jsonl", group(("Paris", 1.0), ("Rome", 0.0)))
    found = rescore(file, "hotpotqa", {"exact_match": 1.0, "retrieval_recall": 0.5})
    assert [moved.after["score"] for moved in found.moved] == [1.25, 0.25]
    assert found.other_signs() == {}


def test_a_validation_dump_of_mathematics_is_scored_by_its_text(tmp_path: Path) -> None:
    lines = [{"gts": MATH, "output": r"so \boxed{0.5}", "score": 0.0}, {"gts": MATH, "output": "no", "score": 0.0}]
    found = rescore(write_dump(tmp_path / "1.jsonl", lines), "math500")
    assert [moved.number for moved in found.moved] == [1]


def test_a_dump_of_this_projects_trainer_says_all_that_is_needed(tmp_path: Path) -> None:
    """Its texts hold special tokens, which the verifier never saw."""
    line = {"gts": {**MATH, "answer_format": "think"}, "output": "</think>\nAnswer: 0.5<|im_end|>", "score": 1.0}
    ours = {"environment": "math500", "episode": None, "completion": "</think>\nAnswer: 0.5", "advantage": 0.5}
    lines = [{**line, **ours}, {**group(("Paris", 1.0))[0], "environment": "hotpotqa"}]
    file = write_dump(tmp_path / "1.jsonl", lines)
    found = rescore(file, None)
    assert found.moved == []
    assert set(found.parts) == {"score", "exact_match"}
    assert list(read_evaluation(file).sources) == ["hotpotqa", "math500"]


def test_a_score_that_was_no_number_is_scored_again(tmp_path: Path) -> None:
    file = write_dump(tmp_path / "1.jsonl", group(("Paris", float("nan")), ("Rome", 0.0)))
    with pytest.raises(ValueError, match="wapo-verl rescore"):
        read_evaluation(file)
    found = rescore(file, "hotpotqa", out=tmp_path / "new")
    assert [moved.number for moved in found.moved] == [1]
    assert read_evaluation(tmp_path / "new" / "1.jsonl").sources[""].scores["score"].tolist() == [1.0, 0.0]


def evaluated(folder: Path) -> Path:
    """Write an evaluation of one question: a right answer scored 0, one that timed out, one that was never played."""
    row = {
        "data_source": "math500",
        "prompt": [{"role": "user", "content": "What is half?"}],
        "reward_model": {"ground_truth": MATH},
        "extra_info": {"question": "What is half?", "split": "test", "index": 0},
        "agent_name": "single_turn_agent",
    }
    question = Question.of(row)
    folder.mkdir()
    write_questions([question], folder / QUESTIONS_FILE)
    known = {"data_source": "math500", "question_id": question.question_id, "row": question.row}
    parts = {"score": 0.0, "correct": 0.0, "timed_out": 0.0}
    made = [
        sample(0, 0, output=r"\boxed{0.5}", vote=None, scores=parts, **known),
        sample(0, 1, output=r"\boxed{\frac12}", scores={**parts, "timed_out": 1.0}, failure="timed_out", **known),
        sample(0, 2, scores=None, failure="context", failure_message="too long", vote=None, **known),
    ]
    (folder / "samples.jsonl").write_bytes(b"".join(each.line() for each in made))
    return folder


def test_samples_of_eval_get_scores_failures_and_votes_anew(tmp_path: Path) -> None:
    folder = evaluated(tmp_path / "a")
    found = rescore(folder / "samples.jsonl", None, out=tmp_path / "b")
    assert found.not_scored == 1
    lines = [json.loads(line) for line in (tmp_path / "b" / "samples.jsonl").read_text().splitlines()]
    assert [line["scores"] and line["scores"]["correct"] for line in lines] == [1.0, 1.0, None]
    assert [line["failure"] for line in lines] == [None, None, "context"]
    assert [line["vote"] for line in lines] == [0, 0, None]
    assert (tmp_path / "b" / QUESTIONS_FILE).is_file()
    again = rescore(tmp_path / "b" / "samples.jsonl", None)
    assert again.moved == []


def test_what_cannot_be_scored_again_is_said(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "1.jsonl", [{"score": 1.0}])
    with pytest.raises(ValueError, match="that does not say its environment: name it with --env"):
        rescore(dump, None)
    with pytest.raises(ValueError, match="line 1, holds no episode record"):
        rescore(dump, "hotpotqa")
    with pytest.raises(ValueError, match="would be written over"):
        rescore(dump, "math500", out=tmp_path)
    with pytest.raises(ValueError, match="line 1 cannot be read as a row of math500"):
        rescore(dump, "math500")
    folder = evaluated(tmp_path / "a")
    with pytest.raises(ValueError, match=r"samples\.jsonl is of `wapo-verl eval`.*: leave --env math500 out"):
        rescore(folder / "samples.jsonl", "math500")
    (folder / QUESTIONS_FILE).unlink()
    with pytest.raises(ValueError, match="holds the ground truths"):
        rescore(folder / "samples.jsonl", None)


def test_the_command_prints_and_writes(tmp_path: Path) -> None:
    file = write_dump(tmp_path / "1.jsonl", group(("Paris", 0.0), ("Rome", 1.0)))
    arguments = ["rescore", str(file), "--env", "hotpotqa", "--out", str(tmp_path / "new")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "line 1, question" in done.output
    assert "another sign in 1 of 1 groups, 2 samples: g" in done.output
    written = json.loads((tmp_path / "new" / "rescore.json").read_text())
    assert written["parts"]["score"]["mean_before"] == 0.5
    assert written["groups_with_another_sign"] == {"g": 2}
    done = CliRunner().invoke(app, ["rescore", str(file), "--env", "hotpotqa", "--weight", "em=1"])
    assert done.exit_code == 1
    assert "names no reward part" in " ".join(done.output.split())
    done = CliRunner().invoke(app, ["rescore", str(file), "--env", "hotpotqa", "--weight", "exact_match=nan"])
    assert done.exit_code == 1
    assert "--weight 'exact_match=nan' is no finite number" in " ".join(done.output.split())
    for weight in ("exact_match", "exact_match=much"):
        done = CliRunner().invoke(app, ["rescore", str(file), "--env", "hotpotqa", "--weight", weight])
        assert done.exit_code == 1
        assert f"--weight {weight!r} is not of the form part=number" in " ".join(done.output.split())


def test_a_folder_without_samples_is_no_evaluation(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["rescore", str(tmp_path)])
    assert done.exit_code == 1
    assert "is no evaluation, it holds no samples.jsonl: give a folder" in " ".join(done.output.split())


def test_the_json_has_every_moved_sample(tmp_path: Path) -> None:
    lines = [line for place in range(30) for line in group(("Paris", 0.0), ("Rome", 0.0), uid=f"g{place}")]
    found = rescore(write_dump(tmp_path / "1.jsonl", lines), "hotpotqa")
    assert len(json.loads(as_json(found))["moved"]) == 30
