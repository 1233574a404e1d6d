"""What is asked: rows for veRL, seeds, what is there already."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.samples import sample

from wapo_verl.environments.registry import environment
from wapo_verl.evaluation.answers import Ballot
from wapo_verl.evaluation.progress import read_progress
from wapo_verl.evaluation.questions import Question, read_questions, refuse_same_ids, write_questions
from wapo_verl.evaluation.requests import Request, read_requests, sample_seed, write_requests

TRUTH = {"answers": ["Paris"], "document_ids": ["d"]}
ROW = {
    "data_source": "hotpotqa",
    "prompt": [{"role": "user", "content": "Which city?"}],
    "ability": "retrieval_qa",
    "reward_model": {"style": "rule", "ground_truth": TRUTH},
    "extra_info": {"index": 4, "split": "dev", "question": "Which city?", "id": "5a8b", "max_turns": 4},
    "agent_name": "search_agent",
}


def test_a_question_is_named_by_its_id_or_by_its_place() -> None:
    assert Question.of(ROW).question_id == "5a8b"
    nameless = {**ROW, "extra_info": {"index": 4, "split": "dev", "question": "Which city?"}}
    assert Question.of(nameless).question_id == "dev/4"
    assert Question.of(nameless).row == Question.of(ROW).row  # what is asked is the same


def test_two_rows_of_one_id_are_refused() -> None:
    with pytest.raises(ValueError, match="two rows of hotpotqa have the id '5a8b'"):
        refuse_same_ids([Question.of(ROW), Question.of(ROW)])


def test_questions_and_requests_come_back_as_they_were(tmp_path: Path) -> None:
    question = Question.of(ROW)
    write_questions([question], tmp_path / "q.jsonl")
    assert list(read_questions(tmp_path / "q.jsonl")) == [question]
    request = Request(question, (1, 3), "/x/samples.jsonl", 7, {"Paris": 0})
    write_requests([request], tmp_path / "r.jsonl")
    (back,) = read_requests(tmp_path / "r.jsonl")
    assert back.row() == request.row()


def test_a_damaged_file_of_questions_is_named(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(ValueError, match=r"q\.jsonl, line 1, is no question"):
        list(read_questions(tmp_path / "q.jsonl"))


def test_a_row_is_what_verls_trainer_and_agent_loops_read() -> None:
    row = Request(Question.of(ROW), (1, 3), "/x/samples.jsonl", 7).row()
    assert row["__rollout_n__"] == 2
    assert row["raw_prompt"] == ROW["prompt"]
    assert row["reward_model"]["ground_truth"] == TRUTH
    assert row["extra_info"]["split"] == "hotpotqa"  # the name under which its index stands
    assert row["extra_info"]["max_turns"] == 4
    assert row["evaluation"]["samples"] == [1, 3]


def test_a_samples_seed_hangs_on_its_place_alone() -> None:
    seeds = {sample_seed(0, "hotpotqa", f"q{question}", number) for question in range(50) for number in range(20)}
    assert len(seeds) == 1_000
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert sample_seed(0, "hotpotqa", "q0", 0) == sample_seed(0, "hotpotqa", "q0", 0)
    assert sample_seed(1, "hotpotqa", "q0", 0) != sample_seed(0, "hotpotqa", "q0", 0)


def test_what_is_there_is_told_with_its_votes(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    made = [
        sample(0, 0, answer="Paris"),
        sample(0, 2, answer="the Paris", vote=0),
        sample(1, 1, answer=None, vote=None),
    ]
    file.write_bytes(b"".join(each.line() for each in made))
    found = read_progress(file)
    assert found.samples == {("hotpotqa", "q0000"): {0, 2}, ("hotpotqa", "q0001"): {1}}
    assert found.votes[("hotpotqa", "q0000")] == {"Paris": 0, "the Paris": 0}
    assert found.count == 3


def test_a_cut_line_is_taken_out_before_more_is_written(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    whole = sample(0, 0).line()
    file.write_bytes(whole + sample(0, 1).line()[:-30])
    assert read_progress(file).count == 1
    assert file.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [file]


def test_a_second_copy_and_failures_to_be_asked_again_are_taken_out(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    first, failed = sample(0, 0).line(), sample(0, 1, scores=None, failure="retriever").line()
    file.write_bytes(first + failed + first)
    assert read_progress(file).failed == 1
    assert file.read_bytes() == first + failed
    assert read_progress(file, ask_failed_again=True).samples == {("hotpotqa", "q0000"): {0}}
    assert file.read_bytes() == first


def test_a_whole_file_is_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    file.write_bytes(sample(0, 0).line())
    before = file.stat()
    read_progress(file, ask_failed_again=True)
    assert file.stat() == before
    assert read_progress(tmp_path / "gone").count == 0


def test_a_file_of_another_version_is_not_resumed(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    file.write_bytes(sample().line().replace(b'"version":1', b'"version":2'))
    with pytest.raises(ValueError, match="line 1, has version 2, not 1"):
        read_progress(file)
    assert b'"version":2' in file.read_bytes()


def test_a_resumed_vote_knows_the_answers_before() -> None:
    ballot = Ballot(environment("hotpotqa"), TRUTH, {"Paris": 0, "the Paris": 0, "Rome": 4})
    assert ballot.vote("paris.", 7) == 0
    assert ballot.vote("The Rome", 8) == 4
    assert ballot.vote("Oslo", 9) == 9
    assert ballot.vote("oslo", 10) == 9
    assert ballot.vote(None, 11) is None
