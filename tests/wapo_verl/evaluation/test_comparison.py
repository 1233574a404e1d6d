"""Evaluations beside each other: the right numbers, and refusing what cannot be paired."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from support.samples import sample, write_samples
from typer.testing import CliRunner

from wapo_verl.cli.app import app
from wapo_verl.evaluation.comparison import POOLED, Compared, Comparison, Summary, compare
from wapo_verl.evaluation.manifest import EvaluationManifest, ModelRecord
from wapo_verl.evaluation.reading import Evaluation, read_evaluation
from wapo_verl.evaluation.report import as_json, markdown, print_comparison, write


def evaluation(tmp_path: Path, name: str, scores: object, **values: object) -> Evaluation:
    return read_evaluation(write_samples(tmp_path / name / "samples.jsonl", scores, **values).parent)


def summary(comparison: Comparison, name: str, source: str = "hotpotqa") -> Summary:
    return next(each for each in comparison.summaries if (each.evaluation, each.data_source) == (name, source))


def compared(comparison: Comparison, second: str, metric: str, source: str = "hotpotqa") -> Compared:
    wanted = (second, metric, source)
    return next(each for each in comparison.differences if (each.second, each.metric, each.data_source) == wanted)


FOUR = [[1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]]


def test_one_evaluation_is_summarised(tmp_path: Path) -> None:
    found = compare([evaluation(tmp_path, "a", FOUR)], ks=[2, 4])
    metrics = summary(found, "a").metrics
    assert metrics["mean"].mean == pytest.approx(7 / 16)
    assert metrics["pass@2"].mean == pytest.approx((0.5 + 0 + 5 / 6 + 1) / 4)
    assert metrics["pass@4"].mean == 0.75  # and not veRL's bootstrapped best@4
    assert metrics["pass^2"].mean == pytest.approx((0 + 0 + 1 / 6 + 1) / 4)
    # Wrong answers all differ: one right among four of equal count has a quarter, two right of two kinds win.
    assert metrics["maj@4"].mean == pytest.approx((0.25 + 0 + 1 + 1) / 4)
    assert metrics["no answer"].mean == 0.0
    assert metrics["turns"].mean == 2.0
    assert found.differences == ()


def test_the_later_ones_are_compared_with_the_first(tmp_path: Path) -> None:
    a, b = evaluation(tmp_path, "a", FOUR), evaluation(tmp_path, "b", [[1] * 4, [0] * 4, [1] * 4, [0, 1, 1, 1]])
    found = compare([a, b], ks=[4])
    mean = compared(found, "b", "mean").difference
    assert mean.estimate.mean == pytest.approx((0.75 + 0 + 0.5 - 0.25) / 4)
    assert (mean.won, mean.lost) == (0.5, 0.25)
    assert compared(found, "b", "pass@4").difference.estimate.mean == 0.0
    assert [each.metric for each in found.differences] == ["mean", "pass@4", "maj@4"]
    assert compared(found, "b", "mean").p_holm == mean.p_value


def test_several_are_corrected_for(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    tables = {name: generator.random((60, 4)) < chance for name, chance in (("a", 0.4), ("b", 0.55), ("c", 0.6))}
    found = compare([evaluation(tmp_path, name, scores) for name, scores in tables.items()])
    b, c = compared(found, "b", "mean"), compared(found, "c", "mean")
    assert c.difference.p_value <= b.difference.p_value
    assert c.p_holm == pytest.approx(2 * c.difference.p_value)
    assert b.p_holm == pytest.approx(max(c.p_holm, b.difference.p_value))


def test_questions_of_all_sources_are_pooled(tmp_path: Path) -> None:
    files = {}
    for name, score in (("a", 0.0), ("b", 1.0)):
        file = tmp_path / name / "samples.jsonl"
        file.parent.mkdir()
        made = [sample(q, 0, score if q else 1.0) for q in range(3)]
        made += [sample(q, 0, 1.0, data_source="math500", scores={"score": 1.0, "correct": 1.0}) for q in range(2)]
        file.write_bytes(b"".join(each.line() for each in made))
        files[name] = read_evaluation(file)
    found = compare(list(files.values()))
    assert summary(found, "a", POOLED).questions == 5
    assert summary(found, "a", POOLED).metrics["mean"].mean == pytest.approx(3 / 5)
    assert compared(found, "b", "mean", POOLED).difference.won == pytest.approx(2 / 5)
    assert [each.data_source for each in found.summaries][::2] == ["hotpotqa", "math500", POOLED]


def test_failed_samples_are_left_out_or_count_as_zero(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    made = [sample(0, 0, 1.0), sample(0, 1, scores=None, failure="retriever", vote=None), sample(1, 0, 1.0)]
    file.write_bytes(b"".join(each.line() for each in made))
    read = read_evaluation(file)
    out, zero = compare([read]), compare([read], failures_as_zero=True)
    assert out.summaries[0].metrics["mean"].mean == 1.0
    assert zero.summaries[0].metrics["mean"].mean == 0.75
    assert out.summaries[0].failed == zero.summaries[0].failed == {"retriever": 1}


def test_a_question_without_a_sound_sample_is_said(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    file.write_bytes(sample(0).line() + sample(1, scores=None, failure="context", vote=None).line())
    found = compare([read_evaluation(file)])
    assert found.summaries[0].metrics["mean"].questions == 1
    assert any("1 questions have no sample that did not fail" in note for note in found.notes)


def test_nothing_but_failures_is_said(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    file.write_bytes(sample(scores=None, failure="retriever").line())
    with pytest.raises(ValueError, match=r"every sample of hotpotqa in .* failed"):
        compare([read_evaluation(file)])


@pytest.mark.parametrize("value", [0, 1])
def test_all_wrong_and_all_right_have_an_interval(tmp_path: Path, value: int) -> None:
    found = compare([evaluation(tmp_path, name, [[value] * 4] * 20) for name in "ab"])
    mean = summary(found, "a").metrics["mean"]
    assert mean.mean == value
    assert mean.high - mean.low == pytest.approx(0.161, abs=1e-3)
    assert compared(found, "b", "mean").difference.p_value == 1.0
    assert compared(found, "b", "mean").difference.questions_needed is None


def test_one_question_has_a_mean_and_nothing_more(tmp_path: Path) -> None:
    found = compare([evaluation(tmp_path, name, [[1, 0, 0, 1]]) for name in "ab"])
    mean = summary(found, "a").metrics["mean"]
    assert mean.mean == 0.5
    assert math.isnan(mean.standard_error)
    assert any("one question has no standard error" in note for note in found.notes)
    markdown(found)
    write(found, tmp_path / "out")


def test_a_score_between_0_and_1_has_no_pass_at_k(tmp_path: Path) -> None:
    found = compare([evaluation(tmp_path, "a", FOUR)], metric="f1")
    assert "pass@4" not in summary(found, "a").metrics
    assert found.curves == ()
    assert any("f1 is not 0 or 1 everywhere" in note for note in found.notes)


def test_questions_with_fewer_samples_than_k_are_said(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    file.write_bytes(b"".join(sample(0, number).line() for number in range(4)) + sample(1, 0).line())
    found = compare([read_evaluation(file)], ks=[4])
    assert found.summaries[0].samples == (1, 4)
    assert found.summaries[0].metrics["pass@4"].questions == 1
    assert any("1 questions have fewer than 4 samples" in note for note in found.notes)


@pytest.mark.parametrize(("ks", "metric", "said"), [
    ([5], "score", "k=5 cannot be: all questions have 4 samples, so choose k from 1 to 4"),
    ([0], "score", "k=0 cannot be"),
    ([], "acc", "hotpotqa has no score 'acc'; its scores are score, f1"),
])  # fmt: skip
def test_what_cannot_be_asked_is_said(tmp_path: Path, ks: list[int], metric: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        compare([evaluation(tmp_path, "a", FOUR)], ks, metric)


def test_other_rows_are_not_paired_and_it_is_said_which(tmp_path: Path) -> None:
    a = evaluation(tmp_path, "a", FOUR)
    shorter = evaluation(tmp_path, "shorter", FOUR[:3])
    longer = evaluation(tmp_path, "longer", [[1, 0]] * 10)
    file = write_samples(tmp_path / "further" / "samples.jsonl", FOUR)
    other = sample(data_source="math500", scores={"score": 1.0, "correct": 1.0})
    file.write_bytes(file.read_bytes() + other.line())
    further = read_evaluation(file)
    file = write_samples(tmp_path / "changed" / "samples.jsonl", FOUR)
    file.write_bytes(file.read_bytes().replace(b'"row":"row1"', b'"row":"other"'))
    dump = tmp_path / "1.jsonl"
    dump.write_text('{"input": "q", "output": "a", "gts": 1, "score": 1.0}\n')
    for b, said in (
        (shorter, "only in a: q0003"),
        (longer, "only in longer: q0004, q0005, q0006 and 3 more"),
        (further, "only further has math500"),
        (read_evaluation(dump), "a and 1 are not of the same rows: only a has hotpotqa;"),
        (read_evaluation(file), "of another text or ground truth: q0001"),
    ):
        with pytest.raises(ValueError, match=said):
            compare([a, b])


def test_one_evaluation_twice_is_refused_and_equal_names_are_told_apart(tmp_path: Path) -> None:
    a = evaluation(tmp_path, "x/run", FOUR)
    with pytest.raises(ValueError, match="is given twice"):
        compare([a, a])
    found = compare([a, evaluation(tmp_path, "y/run", FOUR)])
    assert [each.evaluation for each in found.summaries] == ["x", "y"]
    named_x = evaluation(tmp_path, "z/x", FOUR)
    found = compare([a, evaluation(tmp_path, "y/run", FOUR), named_x])
    assert [each.evaluation for each in found.summaries] == [str(a.file), str(tmp_path / "y/run/samples.jsonl"), "x"]


def test_evaluations_that_were_sampled_otherwise_are_told(tmp_path: Path) -> None:
    pair = []
    for name, temperature in (("a", 1.0), ("b", 0.5)):
        EvaluationManifest(
            model=ModelRecord(asked="m", folder="m", sha256=name),
            rows={},
            samples=4,
            temperature=temperature,
            top_p=1.0,
            seed=0,
        ).write(write_samples(tmp_path / name / "samples.jsonl", FOUR).parent)
        pair.append(read_evaluation(tmp_path / name))
    assert "a and b differ in more than the model: temperature (1.0, 0.5)" in compare(pair).notes


def test_the_report_says_everything(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    pair = [evaluation(tmp_path, name, generator.random((40, 4)) < 0.5) for name in ("step_0", "step_40")]
    found = compare(pair, ks=[4])
    text = markdown(found)
    assert "| mean |" in text
    assert "hotpotqa: 40 questions, score" in text
    assert "differences from step_0, paired by question" in text
    assert "Student's t" in text
    assert "Holm" not in text
    loaded = json.loads(as_json(found))
    assert loaded["differences"][0]["difference"]["estimate"]["questions"] == 40
    console = Console(record=True, width=200)
    print_comparison(found, console)
    assert "step_40, pass@4" in console.export_text()
    files = write(found, tmp_path / "out")
    assert [file.suffix for file in files] == [".md", ".json", ".png"]
    assert files[2].read_bytes().startswith(b"\x89PNG")


def test_what_there_is_none_of_is_null_in_json(tmp_path: Path) -> None:
    text = as_json(compare([evaluation(tmp_path, "a", [[1.0]])]))
    assert "NaN" not in text
    assert json.loads(text)["summaries"][0]["metrics"]["mean"]["standard_error"] is None


def test_the_command_prints_writes_and_refuses_with_one_sentence(tmp_path: Path) -> None:
    for name in "ab":
        write_samples(tmp_path / name / "samples.jsonl", FOUR)
    places, run = [str(tmp_path / name) for name in "ab"], CliRunner().invoke
    done = run(app, ["compare", *places, "--k", "1,4", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "differences from a" in done.output
    assert (tmp_path / "out" / "comparison.png").is_file()
    for arguments, said in (
        ([*places, "--k", "4;8"], "--k takes whole numbers"),
        ([*places, "--k", "8"], "k=8 cannot be"),
        ([*places, "--failed", "maybe"], "--failed is out or zero"),
        ([str(tmp_path / "gone")], "no such file"),
    ):
        done = run(app, ["compare", *arguments])
        assert done.exit_code == 1
        assert said in " ".join(done.output.split())
        assert "Traceback" not in done.output
