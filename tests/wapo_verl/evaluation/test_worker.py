"""What the agent loops' worker writes of a sample, without Ray: a scored output in, a line out."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from support.full_disk import files_end_at
from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput

from wapo_verl.environments.episode import Episode
from wapo_verl.evaluation.questions import Question
from wapo_verl.evaluation.reading import read_evaluation
from wapo_verl.evaluation.requests import Request, sample_seed
from wapo_verl.evaluation.worker import Asked

TRUTH = {"answers": ["Paris"], "document_ids": ["d"]}
MATH = {"answers": ["1"], "answer_format": "boxed", "match": "equivalent", "problem": "p"}


def asked(file: Path, data_source: str = "hotpotqa", truth: Any = TRUTH, **votes: int) -> Asked:
    row = {
        "data_source": data_source,
        "prompt": [{"role": "user", "content": "Which city?"}],
        "reward_model": {"style": "rule", "ground_truth": truth},
        "extra_info": {"index": 0, "split": "dev", "question": "Which city?", "id": "q"},
        "agent_name": "search_agent",
    }
    return Asked.of(Request(Question.of(row), (2, 5), str(file), 7, votes).row())


def output(scores: dict[str, float], episode: Episode | None = None, tokens: int = 3) -> AgentLoopOutput:
    fields: dict[str, Any] = {"reward_extra_info": scores}
    if episode is not None:
        fields["episode"] = episode.to_record()
    return AgentLoopOutput(
        prompt_ids=[1, 2],
        response_ids=list(range(tokens)),
        response_mask=[1] * (tokens - 1) + [0],
        response_logprobs=[-0.5] * tokens,
        num_turns=2,
        metrics=AgentLoopMetrics(),
        extra_fields=fields,
    )


async def test_an_episode_becomes_a_line_with_everything(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    question = asked(file, Paris=0)
    episode = Episode("the Paris", queries=("q",), document_ids=(("d",),), turns=2)
    made = await question.answered(output({"score": 1.0, "f1": 0.5}, episode), "text", session=1, response_length=100)
    question.write(made)
    line = json.loads(file.read_text())
    assert line["sample"] == 5
    assert line["vote"] == 0  # as "Paris" of an earlier run
    assert line["scores"] == {"score": 1.0, "f1": 0.5}
    assert line["finish_reason"] == "answered"
    assert (line["turns"], line["searches"], line["tokens"]) == (2, 1, 2)
    assert line["seed"] == sample_seed(7, "hotpotqa", "q", 5)
    assert line["rollout_log_probs"] == [-0.5] * 3
    assert line["episode"]["queries"] == ["q"]
    samples = read_evaluation(file).sources["hotpotqa"]
    assert samples.scores["f1"].tolist() == [0.5]


async def test_a_completion_of_mathematics_has_its_answer_in_its_text(tmp_path: Path) -> None:
    question = asked(tmp_path / "samples.jsonl", "math500", MATH)
    parts = {"score": 0.0, "timed_out": 0.0}
    made = await question.answered(output(parts), r"so \boxed{2}", session=0, response_length=100)
    assert (made.answer, made.vote, made.finish_reason, made.failure) == ("2", 2, "stop", None)
    cut = await question.answered(output(parts, tokens=4), "and then", session=1, response_length=4)
    assert (cut.answer, cut.vote, cut.finish_reason) == (None, None, "length")


async def test_a_verifier_without_a_verdict_is_a_failure_by_its_name(tmp_path: Path) -> None:
    question = asked(tmp_path / "samples.jsonl", "math500", MATH)
    made = await question.answered(output({"score": 0.0, "timed_out": 1.0}), r"\boxed{9^{9^9}}", 0, 100)
    assert made.failure == "timed_out"
    unread = await question.answered(output({"score": 0.0, "unparsed": 1.0}), r"\boxed{??}", 1, 100)
    assert unread.failure is None  # what nobody can read is the policy's doing


def test_what_never_came_to_a_score_is_a_line_too(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    question = asked(file)
    question.write(question.failed(0, "retriever", "no answer from http://here"))
    line = json.loads(file.read_text())
    assert (line["scores"], line["failure"], line["failure_message"]) == (
        None,
        "retriever",
        "no answer from http://here",
    )


def test_a_full_disk_leaves_whole_lines_and_is_told_with_the_files_name(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    question = asked(file)
    question.write(question.failed(0, "retriever", "short"))
    whole = file.read_bytes()
    with files_end_at(len(whole) + 100), pytest.raises(OSError, match=r"samples\.jsonl"):
        question.write(question.failed(1, "retriever", "x" * 1000))
    assert file.read_bytes() == whole


def _write_many(file: Path, letter: str) -> None:
    question = asked(file)
    for _ in range(100):
        question.write(question.failed(0, "retriever", letter * 20_000))


def test_writers_in_several_processes_do_not_mix_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    writers = [multiprocessing.get_context("fork").Process(target=_write_many, args=(file, letter)) for letter in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    messages = [json.loads(line)["failure_message"] for line in file.read_text().splitlines()]
    assert sorted({message[0] for message in messages}) == ["a", "b", "c"]
    assert len(messages) == 300
    assert all(len(set(message)) == 1 for message in messages)
