"""Reading the metrics of recorded runs: veRL's file logger, CSVs, and what can be wrong with them. No veRL, no GPU."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from wapo_verl.guard.recorded import read_steps
from wapo_verl.guard.rules import ENTROPY, GRAD_NORM, REWARD


def line(step: object, **data: object) -> str:
    return json.dumps({"step": step, "data": {REWARD: 0.5, **data}}) + "\n"


TEN = "".join(line(step) for step in range(11))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def written(content: str | bytes) -> Path:
        file = tmp_path / "metrics"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    return written


def test_what_verls_file_logger_writes_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The logger itself writes it, so null for NaN is its own; text and unread metrics are left out."""
    from verl.utils.tracking import FileLogger

    monkeypatch.setenv("VERL_FILE_LOGGER_PATH", str(tmp_path / "metrics.jsonl"))
    logger = FileLogger("project", "experiment")
    logger.log({"val-core/acc": 0.1}, 0)
    logger.log({REWARD: 0.5, GRAD_NORM: math.nan, "actor/name": "text", "timing_s/gen": 3}, 1)
    logger.finish()
    run = read_steps(tmp_path / "metrics.jsonl")
    assert [(step, sorted(metrics)) for step, metrics in run.steps] == [(0, []), (1, [GRAD_NORM, REWARD])]
    assert math.isnan(run.steps[1][1][GRAD_NORM])
    assert run.numbers == [1]


@pytest.mark.parametrize(
    "text",
    [
        f"step,{REWARD},{ENTROPY},note\n0,,,\n2,0.25,NaN,b\n1,0.5,,a\n",
        f"\ufeff_step,{REWARD},{ENTROPY}\r\n1.0,0.5,\r\n2,0.25,nan\r\n",
        f'"Step","run-7 - x - {REWARD}","run-7 - x - {REWARD}__MIN","run - {ENTROPY}"\n1,.5,0,""\n2,.25,0,nan\n',
    ],
    ids=["plain", "history", "chart"],
)
def test_a_csv_is_read_by_its_columns(text: str, write: Callable[[str], Path]) -> None:
    """Rows in any order; an empty cell was not logged; the data of a chart have the run's name in each column."""
    run = read_steps(write(text))
    named = [{name: metrics[name] for name in (REWARD, ENTROPY) if name in metrics} for _, metrics in run.steps]
    assert run.numbers == [1, 2]
    assert str(named[-2:]) == str([{REWARD: 0.5}, {REWARD: 0.25, ENTROPY: math.nan}])


@pytest.mark.parametrize("end", ['{"step": 11, "data": {"critic/sc', '{"step": 11, "da\n', "\0\0\0\0", b"\xff\xfe{"])
def test_a_damaged_last_line_is_passed_over_and_said(end: str | bytes, write: Callable[[bytes], Path]) -> None:
    run = read_steps(write(TEN.encode() + (end if isinstance(end, bytes) else end.encode())))
    assert run.numbers == list(range(1, 11))
    assert run.notes == ["Line 12, the last, is damaged and passed over: the run was killed, or writes it now."]


def test_steps_that_a_resumed_run_made_again_count_once(write: Callable[[str], Path]) -> None:
    again = "".join(line(step, **{REWARD: 0.9}) for step in (8, 9))
    run = read_steps(write(TEN + again))
    assert run.numbers == list(range(1, 10))
    assert [metrics[REWARD] for _, metrics in run.steps][-3:] == [0.5, 0.9, 0.9]
    assert run.notes == ["The file goes back to step 8: later steps that stood before it (2) do not count."]


def test_a_file_without_the_runs_start_and_a_short_one_say_so(write: Callable[[str], Path]) -> None:
    notes = read_steps(write(line(50) + line(51))).notes
    assert notes == [
        "The run's start is not in the file: what is measured from it is measured from step 50.",
        "A rule that compares with the run's start cannot alarm in fewer than 8 steps.",
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "is empty: give the file of veRL's file logger"),
        (" \n", "is empty"),
        (line(0), "holds no step of training"),
        ('{"step": 1, "da', "holds no step of training"),
        (TEN + "{broken\n" + line(11), "line 12, is not JSON"),
        (TEN + "[" * 100_000 + "\n" + line(11), "line 12, is not JSON"),
        ('{"input": "a dump", "score": 1}\n', "line 1, is not a step's metrics: give the file of veRL's file logger"),
        ("{}\n[]\n", "line 1, is not a step's metrics"),
        (line(1) + line(1.5), "line 2, has the step 1.5"),
        (line(1) + line(True), "line 2, has the step True"),
        (line(1) + line("2"), "line 2, has the step '2'"),
        (line(1) + line(-1), "line 2, has the step -1.0"),
        (line(1) + line(2, **{REWARD: "high"}), f"line 2, {REWARD} is no number but 'high'"),
        (f"epoch,{REWARD}\n1,0.5\n", f"no column of steps (step, _step, Step), its first line is 'epoch,{REWARD}'"),
        (f"step,{REWARD}\n", "holds no step of training"),
        (f"step,{REWARD}\n1,0.5\n2,0.5,3\n", "line 3, has 3 cells and the first line 2"),
        (f"step,{REWARD}\n1,0.5\n2,high\n", f"line 3, {REWARD} is no number but 'high'"),
        (f"step,{REWARD}\n1,0.5\n,0.5\n", "line 3, has the step None"),
        (f"step,{REWARD}\n1,0.5\nlast,0.5\n", "line 3, has the step 'last'"),
        (
            f"Step,a - {REWARD},b - {REWARD}\n1,0.5,0.4\n",
            f"line 1, has the column '{REWARD}' twice: export the metrics",
        ),
        (b"PAR1\x00\xff\xfe", "is no CSV"),
        (f'step,{REWARD}\n1,"0.5\n', "is no CSV"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_with_the_line(
    content: str | bytes, problem: str, write: Callable[[str | bytes], Path]
) -> None:
    file = write(content)
    with pytest.raises(ValueError, match=re.escape(problem)) as caught:
        read_steps(file)
    assert str(caught.value).startswith(str(file))


def test_a_folder_is_refused_with_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder: give the file of veRL's file logger"):
        read_steps(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_steps(tmp_path / "gone.jsonl")
