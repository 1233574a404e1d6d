"""What the quickstart concludes: the report, the picture and the two episodes, from metrics and dumps written here."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from examples.quickstart import curves, episodes_view, report
from examples.quickstart.command import Folders
from examples.quickstart.metrics import Row
from examples.quickstart.run import GOAL, conclude

HELD_OUT = "val-aux/miniwiki/exact_match/mean@1"
BEFORE_OUTPUT = (
    "<search> Balalda </search> user <information> Balalda Book praised by Remzar. </information> "
    "assistant <answer> Remzar </answer>"
)
AFTER_OUTPUT = (
    "<think> hm </think> <search> Balalda </search> user <information> Balalda Book written by Lemiad. </information> "
    "assistant <search> Lemiad </search> user <information> Lemiad Born in Temwick. </information> "
    "assistant <answer> Temwick </answer>"
)


def sample(number: int, right: bool, step: int, output: str = "<answer> x </answer>") -> dict[str, Any]:
    return {
        "input": f"user Where was the author of Book{number} born? assistant",
        "output": output,
        "gts": {"answers": ["Temwick"], "document_ids": ["a", "b"]},
        "score": float(right),
        "exact_match": float(right),
        "step": step,
    }


def training_row(step: int, **more: float) -> Row:
    values = {
        "critic/score/mean": 0.1 * step,
        "group/winner_fraction": 0.2,
        "actor/entropy": 1.0 / step,
        "training/rollout_probs_diff_mean": 1e-4 * step,
        "timing_s/step": 10.0 / step,
        "timing_s/gen": 2.0,
        "timing_s/testing": 5.0,
    }
    return Row(step, {**values, **more})


def rows(first: float = 0.3, last: float = 0.9) -> list[Row]:
    return [Row(0, {HELD_OUT: first}), training_row(1), training_row(2), training_row(4, **{HELD_OUT: last})]


def around(questions: int = 100) -> report.Circumstances:
    return report.Circumstances(
        seed=5,
        questions=questions,
        preparation={"an index": 1.5},
        start_up=(("Ray up", 10.0), ("ready to fit", 80.0)),
        training_seconds=200.0,
        peak_memory_bytes=8_500_000_000,
        command=["python", "-m", "verl.trainer.main_ppo"],
        name="quickstart",
        goal=GOAL,
    )


def shown(found: dict[str, Any]) -> str:
    stream = io.StringIO()
    report.show(found, Console(file=stream, width=200))
    return stream.getvalue()


def test_the_report_holds_what_the_rows_say() -> None:
    found = report.build(rows(), around())
    assert json.loads(json.dumps(found)) == found
    assert [entry["step"] for entry in found["held_out"]] == [0, 4]
    assert found["held_out"][1]["standard_error"] == pytest.approx((0.9 * 0.1 / 100) ** 0.5)
    assert found["rose"] is True
    assert found["steps"] == 4
    assert found["rollout_probs_diff_mean_max"] == pytest.approx(4e-4)
    assert [(phase["phase"], phase["took"]) for phase in found["start_up_seconds"]] == [
        ("Ray up", 10.0),
        ("ready to fit", 70.0),
    ]
    assert found["first_step_seconds"] == 10.0
    assert found["step_seconds"] == {"gen": 2.0, "other": pytest.approx(1.75), "step": pytest.approx(3.75)}
    assert found["total_seconds"] == 201.5
    assert found["peak_memory_gigabytes"] == 8.5


@pytest.mark.parametrize(
    ("first", "last", "rose"), [(0.5, 0.8, True), (0.51, 0.9, False), (0.3, 0.79, False), (0.9, 0.3, False)]
)
def test_the_verdict_is_about_both_ends(first: float, last: float, rose: bool) -> None:
    found = report.build(rows(first, last), around())
    assert found["rose"] is rose
    assert ("did NOT rise" in shown(found)) is not rose
    assert f"from {first:.2f} (step 0) to {last:.2f} (step 4)" in shown(found)


def test_everything_is_in_what_is_shown() -> None:
    text = shown(report.build(rows(), around()))
    for part in ("0.300", "0.900", "veRL: ready to fit", "before veRL: an index", "a step: gen", "8.5 GB", "4.0e-04"):
        assert part in text


def test_a_gap_that_is_too_wide_or_was_not_logged_is_said() -> None:
    wide = [*rows(), training_row(5, **{"training/rollout_probs_diff_mean": 0.2})]
    assert "not below 0.001" in shown(report.build(wide, around()))
    rounded = [*rows(), training_row(5, **{"training/rollout_probs_diff_mean": 0.0015})]
    assert "not below 0.001" in shown(report.build(rounded, around()))
    in_bfloat16 = replace(around(), command=["actor_rollout_ref.rollout.dtype=bfloat16"])
    assert "below 0.05: vLLM sampled with the actor's weights" in shown(report.build(rounded, in_bfloat16))
    without = [Row(1, {"timing_s/step": 1.0}), Row(2, {"timing_s/step": 1.0})]
    text = shown(report.build(without, around(0)))
    assert "unproved" in text
    assert "no validation was made" in text


@given(st.lists(st.dictionaries(st.sampled_from(["gen", "adv", "testing"]), st.floats(0, 5)), min_size=1))
def test_the_parts_of_one_step_and_what_is_left_add_up(steps: list[dict[str, float]]) -> None:
    timed = [
        Row(i + 1, {"timing_s/step": 20.0, **{f"timing_s/{name}": value for name, value in step.items()}})
        for i, step in enumerate(steps)
    ]
    found = report.step_phases(timed[:1])
    assert found.pop("step") == 20.0
    assert sum(found.values()) == pytest.approx(20.0)


def test_curves_are_of_the_steps_that_have_them(tmp_path: Path) -> None:
    assert curves.held_out_curve(rows()) == [(0, 0.3), (4, 0.9)]
    assert curves.curve(rows(), "actor/entropy") == [(1, 1.0), (2, 0.5), (4, 0.25)]
    curves.draw(rows(), tmp_path / "curves.png", "a title")
    curves.draw([], tmp_path / "empty.png", "a title")
    for name in ("curves.png", "empty.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_an_episode_is_read_by_its_tags() -> None:
    assert [(piece.tag, piece.text) for piece in episodes_view.pieces(AFTER_OUTPUT)] == [
        ("think", "hm"),
        ("search", "Balalda"),
        ("information", "Balalda Book written by Lemiad."),
        ("search", "Lemiad"),
        ("information", "Lemiad Born in Temwick."),
        ("answer", "Temwick"),
    ]
    broken = episodes_view.pieces("<information> </information> assistant <search> x </answer>")
    assert [(piece.tag, piece.text) for piece in broken] == [("information", ""), ("", "<search> x </answer>")]


@given(st.text())
def test_any_text_has_pieces_without_loss_of_words(text: str) -> None:
    words = " ".join(piece.text for piece in episodes_view.pieces(text)).split()
    assert set(words) <= set(text.replace("<", " <").replace(">", "> ").split()) | set(text.split())


def test_a_question_that_came_right_is_chosen() -> None:
    before = [sample(1, True, 0), sample(2, False, 0, BEFORE_OUTPUT), sample(3, False, 0), sample(4, True, 0)]
    after = [sample(2, True, 4, AFTER_OUTPUT), sample(1, True, 4), sample(3, False, 4), sample(4, False, 4)]
    pair = episodes_view.choose(before, after)
    assert pair is not None
    assert (pair[0], pair[1]) == (before[1], after[0])
    assert set(episodes_view.changes(before, after).values()) == {1}
    assert episodes_view.choose(before[:1], after[1:2]) == (before[0], after[1])
    assert episodes_view.choose(before[:1], []) is None


def test_the_end_writes_all_files_and_shows_the_episodes(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    folders.validation.mkdir()
    for step, output, right in ((0, BEFORE_OUTPUT, False), (4, AFTER_OUTPUT, True)):
        (folders.validation / f"{step}.jsonl").write_text(json.dumps(sample(1, right, step, output)) + "\n")
    stream = io.StringIO()
    conclude(rows(), around(), folders, Console(file=stream, width=200))
    assert json.loads(folders.report.read_text())["rose"] is True
    assert folders.curves.is_file()
    text = stream.getvalue()
    for part in (
        "Where was the author of Book1 born?",
        "Lemiad Born in Temwick.",
        "before training (step 0)",
        "Remzar",
    ):
        assert part in text
    assert text.index("before training") < text.index("after training") < text.index("held-out exact match went")


def test_a_held_out_question_whose_episode_failed_is_not_compared(tmp_path: Path) -> None:
    file = tmp_path / "0.jsonl"
    sound = {"input": "q", "output": "", "score": 1.0, "exact_match": 1.0, "failure": None}
    failed = {"input": "p", "output": "", "score": None, "exact_match": None, "failure": "retriever"}
    file.write_text(json.dumps(sound) + "\n" + json.dumps(failed) + "\n")
    samples = episodes_view.read_dump(file)
    assert [sample["input"] for sample in samples] == ["q"]
    assert episodes_view.changes(samples, samples)["right both times"] == 1
