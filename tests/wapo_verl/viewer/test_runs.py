"""What the viewer finds in a folder, and how it reads files that grow, break off or hold something else. No browser."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.recorded_run import completion, words, write_run
from support.samples import write_samples

from wapo_verl.data.episode_record import group_of, reward_parts, segments, turns
from wapo_verl.data.question_index import question_id
from wapo_verl.evaluation.questions import Question, write_questions
from wapo_verl.viewer import completions
from wapo_verl.viewer.completions import StepReader
from wapo_verl.viewer.runs import ViewError, open_runs

TRUTH = {"answers": ["Paris"], "document_ids": []}


def test_a_run_has_its_metrics_records_and_alarms(tmp_path: Path) -> None:
    (run,) = open_runs([write_run(tmp_path / "run")])
    assert [(each.name, each.steps()) for each in run.sets] == [("rollouts", [1, 2, 3])]
    assert sorted(run.metrics()) == [1, 2, 3]
    assert run.alarms() == [{"rule": "entropy_low", "step": 2, "until": 3}]


def test_a_folder_of_runs_and_two_of_one_name(tmp_path: Path) -> None:
    write_run(tmp_path / "a" / "seed")
    write_run(tmp_path / "b" / "seed")
    assert [run.name for run in open_runs([tmp_path / "a", tmp_path / "b"])] == ["seed", "seed (2)"]


def test_an_evaluation_is_one_file(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    (run,) = open_runs([tmp_path / "run" / "rollouts" / "2.jsonl"])
    assert run.sets[0].steps() == [0]
    assert len(completions.groups(StepReader().read(run.sets[0].file(0)))) == 2


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    line = json.dumps(completion(0, 0, 1.0, words(0)))
    (tmp_path / "1.jsonl").write_text(line + "\n", encoding="utf-8-sig")
    read = StepReader().read(tmp_path / "1.jsonl")
    assert completions.completion(read, read.lines[0]["uid"])["tokens"]["ids"] == [1, 2, 4]


@pytest.mark.parametrize("place", ["", "samples.jsonl"])
def test_samples_of_eval_are_shown_with_their_questions_and_scores(place: str, tmp_path: Path) -> None:
    """The evaluation's folder or its file; a question's id is that of the same question in a dump."""
    write_samples(tmp_path / "samples.jsonl", [[1, 0], [0, 0]], output="<answer> x </answer>")
    question = Question("hotpotqa", "q0000", "row0", [{"role": "user", "content": "Who?"}], TRUTH, {}, "search_agent")
    write_questions([question], tmp_path / "questions.jsonl")
    (run,) = open_runs([tmp_path / place])
    read = StepReader().read(run.records("samples").file(0))
    first, second = completions.groups(read)
    assert (first["question"], first["id"], first["answers"]) == ("Who?", question_id("Who?"), ["Paris"])
    assert second["question"] == "q0001", "its line is missing"
    assert [each["score"] for each in first["completions"]] == [1.0, 0.0]
    assert first["completions"][0]["parts"] == {"f1": 0.5}
    shown = completions.completion(read, first["completions"][1]["key"])
    assert (shown["question"], shown["score"], shown["tokens"]) == ("Who?", 0.0, None)
    assert shown["turn_texts"][0]["text"] == "<answer> x </answer>"


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_what_holds_nothing_is_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ViewError, match=r"is not there|rollout_data_dir"):
        open_runs([tmp_path / name])


@pytest.mark.parametrize("line", ['{"step": 1.5, "data": {}}', '{"step": "2", "data": {}}', "[" * 100_000])
def test_a_line_that_is_no_steps_metrics_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "data": {"x": NaN, "y": 2}}\n')
    (run,) = open_runs([tmp_path])
    assert run.metrics()[1]["y"] == 2
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ViewError, match="has a line that is not a step's metrics"):
        run.metrics()


def test_metrics_of_a_growing_file_are_read_once(tmp_path: Path) -> None:
    (run,) = open_runs([write_run(tmp_path / "run")])
    assert run.metrics_file is not None
    run.metrics()
    with run.metrics_file.open("a") as file:
        file.write('{"step": 4, "data": {"critic/score/mean": 1.0}}\n{"step": 5, "da')
    assert sorted(run.metrics()) == [1, 2, 3, 4]
    with run.metrics_file.open("a") as file:
        file.write('ta": {"x": 2}}\n')
    assert run.metrics()[5] == {"x": 2.0}
    run.metrics_file.write_text('{"step": 1, "data": {"x": 3}}\n')
    assert run.metrics() == {1: {"x": 3.0}}


def test_a_line_that_is_cut_off_is_left_out_and_said(tmp_path: Path) -> None:
    file = tmp_path / "1.jsonl"
    whole = json.dumps(completion(0, 0, 1.0, words(0)))
    file.write_text(whole + "\n" + whole[:40])
    read = StepReader().read(file)
    assert (len(read.lines), read.cut) == (1, True)
    file.write_text(whole[:40] + "\n" + whole + "\n")
    with pytest.raises(ViewError, match=r"1\.jsonl, line 1, is not JSON"):
        StepReader().read(file)


def test_bytes_that_are_no_utf8_are_shown(tmp_path: Path) -> None:
    file = tmp_path / "1.jsonl"
    file.write_bytes(b'{"input": "a\xff", "output": "b", "score": 1.0}\n')
    assert completions.groups(StepReader().read(file))[0]["question"] == "a\ufffd"


def test_dumps_of_verl_itself_are_read(tmp_path: Path) -> None:
    file = tmp_path / "0.jsonl"
    line = {"input": "q", "output": "o", "gts": "42", "score": 0.5, "step": 0, "acc": True, "pred": "[INVALID]"}
    file.write_text(json.dumps(line) + "\n")
    read = StepReader().read(file)
    (group,) = completions.groups(read)
    assert group["answers"] == ["42"]
    assert group["completions"][0]["parts"] == {"acc": 1.0}
    assert completions.completion(read, "line-0")["turn_texts"] == [{"role": "assistant", "text": "o"}]


def test_missed_documents_and_searches(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    read = StepReader().read(run / "rollouts" / "1.jsonl")
    winner, loser = read.lines[0], read.lines[1]
    assert completions.detail(winner, 0)["missed"] == []
    shown = completions.detail(loser, 1)
    assert shown["missed"] == ["Vonursel/birthplace"]
    assert shown["search_results"] == [{"query": "Losandor", "documents": [{"id": "Losandor/author", "gold": True}]}]


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    reader, file = StepReader(), write_run(tmp_path / "run") / "rollouts" / "1.jsonl"
    assert reader.read(file) is reader.read(file)
    with file.open("a") as opened:
        opened.write(json.dumps(completion(2, 0, 1.0, words(0))) + "\n")
    assert len(completions.groups(reader.read(file))) == 3


@given(st.lists(st.integers(0, 1), max_size=30))
def test_segments_cover_the_response_and_alternate(mask: list[int]) -> None:
    found = list(segments(mask))
    assert [token for start, end, role in found for token in [int(role == "assistant")] * (end - start)] == mask
    assert all(one[2] != other[2] for one, other in pairwise(found))
    assert [turn["text"] for turn in turns(mask, mask, str)] == [str(mask[start:end]) for start, end, _ in found]


def test_names_of_groups_and_parts() -> None:
    assert group_of("a_b-c_3_0") == "a_b-c"
    assert group_of("question_7") == "question_7"
    assert reward_parts({"score": 1, "uid": "x", "f1": 0.5, "bad": float("nan"), "text": "x"}) == {"f1": 0.5}
    assert reward_parts({"f1": 0.5, "reward_parts": {"em": 1}}) == {"em": 1.0}
