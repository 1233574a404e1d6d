"""Files of samples: what comes out of a good one, and the one sentence that a bad one ends with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.samples import sample, write_samples

from wapo_verl.evaluation.reading import cut_line, read_evaluation
from wapo_verl.evaluation.records import row_hash
from wapo_verl.evaluation.samples import NOT_FAILED


def test_samples_come_as_columns_ordered_by_question_and_number(tmp_path: Path) -> None:
    made = [sample(1, 0, 0.0), sample(0, 1, 1.0, tokens=7), sample(0, 0, 0.0, vote=None)]
    file = tmp_path / "samples.jsonl"
    file.write_bytes(b"".join(each.line() for each in made))
    found = read_evaluation(file).sources["hotpotqa"]
    assert found.question_ids == ("q0000", "q0001")
    assert found.rows == ("row0", "row1")
    assert found.question.tolist() == [0, 0, 1]
    assert found.scores["score"].tolist() == [0.0, 1.0, 0.0]
    assert found.scores["f1"].tolist() == [0.0, 0.5, 0.0]
    assert found.sizes["tokens"].tolist() == [10, 7, 10]
    assert found.votes is not None
    assert found.votes.tolist() == [-1, 0, 0]
    assert found.failed() == {}


def test_a_folder_gives_its_name(evaluation_file: Path) -> None:
    assert read_evaluation(evaluation_file.parent).name == "a"
    assert read_evaluation(evaluation_file).name == "a"
    elsewhere = evaluation_file.rename(evaluation_file.parent / "step_40.jsonl")
    assert read_evaluation(elsewhere).name == "step_40"


def test_failed_samples_keep_their_reason(tmp_path: Path) -> None:
    made = [sample(0, 0, 1.0), sample(0, 1, scores=None, failure="retriever"), sample(0, 2, 0.0, failure="timed_out")]
    file = tmp_path / "samples.jsonl"
    file.write_bytes(b"".join(each.line() for each in made))
    found = read_evaluation(file).sources["hotpotqa"]
    assert found.failed() == {"retriever": 1, "timed_out": 1}
    assert found.without_failures().scores["score"].tolist() == [1.0]
    zero = found.with_failures_as_zero()
    assert zero.scores["score"].tolist() == [1.0, 0.0, 0.0]
    assert zero.votes is not None
    assert zero.votes.tolist() == [0, -1, -1]


def test_nothing_but_failures_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    file.write_bytes(sample(scores=None, failure="retriever").line())
    found = read_evaluation(file).sources["hotpotqa"]
    assert (found.failure != NOT_FAILED).all()
    assert found.scores == {}


def test_data_sources_are_kept_apart(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    other = sample(0, 0, 1.0, data_source="math500", scores={"score": 1.0, "correct": 1.0})
    file.write_bytes(sample().line() + other.line() + sample(1).line())
    found = read_evaluation(file).sources
    assert list(found) == ["hotpotqa", "math500"]
    assert list(found["math500"].scores) == ["score", "correct"]


def test_a_line_that_the_writer_did_not_finish_is_left_out_and_said(evaluation_file: Path) -> None:
    whole = evaluation_file.read_bytes()
    evaluation_file.write_bytes(whole[:-20])
    assert cut_line(evaluation_file) > 0
    found = read_evaluation(evaluation_file)
    assert len(found.sources["hotpotqa"].question) == 11
    assert "cut off" in found.notes[0]
    evaluation_file.write_bytes(whole)
    assert cut_line(evaluation_file) == 0
    assert read_evaluation(evaluation_file).notes == ()


def test_blocks_smaller_than_a_line_are_read_all_the_same(
    evaluation_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wapo_verl.evaluation.reading._BLOCK", 50)
    assert len(read_evaluation(evaluation_file).sources["hotpotqa"].question) == 12


def _replaced(old: str, new: str) -> Callable[[bytes], bytes]:
    return lambda content: content.replace(old.encode(), new.encode(), 1)


BAD = {
    "empty": (lambda content: b"", "it is empty"),
    "no JSON": (lambda content: b"hello\n", "line 1 is no JSON"),
    "deep": (lambda content: b"[" * 100_000 + b"\n", "line 1 is no JSON"),
    "deep in the middle": (lambda content: content + b'{"a":' * 100_000 + b"\n", "line 13 is no JSON"),
    "a list": (lambda content: b"[1]\n", "line 1 is no JSON object"),
    "another file": (lambda content: b'{"a": 1}\n', "neither of `wapo-verl eval` nor of veRL's dumps"),
    "one cut line": (lambda content: content.split(b"\n")[0][:-5], "line 1 is no JSON"),
    "an unfinished first line": (lambda content: content.split(b"\n")[0], "it holds no whole sample"),
    "a hole": (lambda content: content.replace(b"\n", b"\n{{{\n", 1), "line 2 is no JSON"),
    "another version": (
        _replaced('"version":1', '"version":2'),
        "line 1 has version 2 of the format, and this wapo-verl reads version 1",
    ),
    "another version, other keys": (
        lambda content: content + b'{"version":9,"new":1}\n',
        "line 13 has version 9 of the format",
    ),
    "NaN": (
        _replaced('"score":1.0', '"score":NaN'),
        "line 1: the score 'score' of sample 0 of question 'q0000' is nan",
    ),
    "twice": (
        lambda content: content + content.split(b"\n")[0] + b"\n",
        "sample 0 of question 'q0000' is there twice; take one of each out",
    ),
    "thrice": (lambda content: content * 3, "is there twice, and 23 more are"),
    "other scores": (_replaced('"f1":0.0', '"f2":0.0'), "has the scores score, f2, the lines before it score, f1"),
    "no scores": (_replaced('{"score":0.0,"f1":0.0}', "null"), "line 3 has neither scores nor a failure"),
    "another row": (_replaced('"row":"row0","sample":3', '"row":"x","sample":3'), "line 4: question 'q0000'"),
    "text for a number": (_replaced('"tokens":10', '"tokens":"ten"'), "line 1 is no sample: Expected `int`, got `str`"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_ends_with_one_sentence(case: str, evaluation_file: Path) -> None:
    damage, said = BAD[case]
    evaluation_file.write_bytes(damage(evaluation_file.read_bytes()))
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        read_evaluation(evaluation_file)
    assert str(caught.value).startswith(str(evaluation_file))


def test_what_is_no_evaluation_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"it holds no samples\.jsonl"):
        read_evaluation(tmp_path)
    with pytest.raises(ValueError, match="no such file"):
        read_evaluation(tmp_path / "gone")


def test_a_row_is_what_is_asked_and_what_counts_as_right() -> None:
    first = row_hash("hotpotqa", "Who?", {"answers": ["A"], "document_ids": []})
    assert first == row_hash("hotpotqa", "Who?", {"document_ids": [], "answers": ["A"]})
    assert first != row_hash("hotpotqa", "Who?", {"answers": ["B"], "document_ids": []})
    assert first != row_hash("ottqa", "Who?", {"answers": ["A"], "document_ids": []})


def dump_line(question: str, output: str, score: float, **values: object) -> str:
    given = {"input": question, "output": output, "gts": {"answers": ["Paris"], "document_ids": []}, "score": score}
    return json.dumps({**given, "step": 3, **values}) + "\n"


def test_a_dump_of_verls_is_read_by_prompt_and_ground_truth(tmp_path: Path) -> None:
    file = tmp_path / "40.jsonl"
    lines = [
        dump_line(f"question {number}", "text", number % 2, reward=number % 2, exact_match=1.0, uid=f"u{number}_{s}_0")
        for number in range(3)
        for s in range(2)
    ]
    file.write_text("".join(lines))
    found = read_evaluation(file)
    assert found.name == "40"
    samples = found.sources[""]
    assert samples.counts().tolist() == [2, 2, 2]
    assert sorted(samples.scores) == ["exact_match", "score"]
    assert samples.scores["score"].sum() == 2
    assert samples.votes is None
    assert samples.sizes == {}


def test_of_several_outputs_of_a_session_the_last_counts(tmp_path: Path) -> None:
    file = tmp_path / "1.jsonl"
    file.write_text(dump_line("q", "a", 0.0, uid="u_0_0") + dump_line("q", "b", 1.0, uid="u_0_1"))
    assert read_evaluation(file).sources[""].scores["score"].tolist() == [1.0]


def test_a_dump_with_episodes_says_which_answers_are_the_same(tmp_path: Path) -> None:
    def episode(answer: str | None) -> dict[str, object]:
        outcome = "answered" if answer else "turn_limit"
        return {"answer": answer, "outcome": outcome, "queries": ["q"], "document_ids": [["d"]], "turns": 2}

    file = tmp_path / "1.jsonl"
    given = ["Paris", "the Paris.", None, "Rome"]
    file.write_text("".join(dump_line("q", "text", 0.0, episode=episode(answer)) for answer in given))
    samples = read_evaluation(file, "hotpotqa").sources["hotpotqa"]
    assert samples.votes is not None
    assert samples.votes.tolist() == [0, 0, -1, 3]
    assert samples.sizes["turns"].tolist() == [2, 2, 2, 2]
    assert "tokens" not in samples.sizes


def test_answers_of_mathematics_are_the_same_by_meaning(tmp_path: Path) -> None:
    file = tmp_path / "1.jsonl"
    truth = {"answers": ["1"], "answer_format": "boxed", "match": "equivalent", "problem": "p"}
    given = [r"\boxed{0.5}", r"so \boxed{\frac12}", "nothing", r"\boxed{2}"]
    file.write_text("".join(dump_line("q", output, 0.0, gts=truth) for output in given))
    samples = read_evaluation(file, "math500").sources["math500"]
    assert samples.votes is not None
    assert samples.votes.tolist() == [0, 0, -1, 3]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (dump_line("q", "a", float("nan")), "line 1: the score 'score' is nan"),
        (dump_line("q", "a", 1.0) + "{\n", "line 2 is no JSON"),
        (dump_line("q", "a", 1.0) + "[" * 100_000 + "\n", "line 2 is no JSON"),
        (dump_line("q", "a", 1.0) + '{"a": 1}\n', "line 2 is not one of a dump"),
        (dump_line("q", "a", 1.0).strip(), "no whole sample"),
    ],
)
def test_a_bad_dump_ends_with_one_sentence(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "1.jsonl"
    file.write_text(content)
    with pytest.raises(ValueError, match=re.escape(said)):
        read_evaluation(file)


@pytest.mark.parametrize("value", [3, {"answer": "Paris"}, {"answer": "Paris", "queries": 3, "turns": 1}])
def test_a_rewards_own_value_named_episode_is_no_record(tmp_path: Path, value: object) -> None:
    (tmp_path / "1.jsonl").write_text(dump_line("q", "a", 1.0, episode=value))
    samples = read_evaluation(tmp_path / "1.jsonl", "hotpotqa").sources["hotpotqa"]
    assert (samples.sizes, samples.votes) == ({}, None)


def test_rows_of_another_environment_are_said(tmp_path: Path) -> None:
    (tmp_path / "1.jsonl").write_text(dump_line("q", "Answer: 1", 1.0))
    with pytest.raises(ValueError, match=r"1\.jsonl: line 1 cannot be read as a row of math500 \(KeyError"):
        read_evaluation(tmp_path / "1.jsonl", "math500")


def test_an_unknown_environment_is_said(tmp_path: Path) -> None:
    file = tmp_path / "1.jsonl"
    file.write_text(dump_line("q", "a", 1.0))
    with pytest.raises(ValueError, match="no environment 'hotpot'"):
        read_evaluation(file, "hotpot")


def test_an_environment_is_named_for_dumps_alone(evaluation_file: Path) -> None:
    with pytest.raises(ValueError, match=r"samples\.jsonl is of `wapo-verl eval`.*: leave --env hotpotqa out"):
        read_evaluation(evaluation_file.parent, "hotpotqa")


def test_a_byte_order_mark_is_passed_over(evaluation_file: Path) -> None:
    evaluation_file.write_bytes(b"\xef\xbb\xbf" + evaluation_file.read_bytes())
    assert len(read_evaluation(evaluation_file).sources["hotpotqa"].question) == 12


def test_many_lines_keep_their_order(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).integers(0, 2, (200, 8))
    found = read_evaluation(write_samples(tmp_path / "samples.jsonl", scores)).sources["hotpotqa"]
    assert found.scores["score"].reshape(200, 8).tolist() == scores.tolist()
