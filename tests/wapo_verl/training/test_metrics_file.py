"""veRL's own file logger under our patches: over a resume, and where the disk takes no more."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.full_disk import files_end_at
from verl.utils.tracking import FileLogger

from wapo_verl import say
from wapo_verl.training import dump, metrics_file


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("VERL_FILE_LOGGER_PATH", str(tmp_path / "metrics.jsonl"))
    monkeypatch.setattr(say, "_subjects", set())
    yield tmp_path / "metrics.jsonl"
    metrics_file.resumes_at(0)


def log(*steps: int) -> None:
    logger = FileLogger("project", "experiment")
    for step in steps:
        logger.log({"reward": float(step)}, step)
    logger.finish()


def steps(file: Path) -> list[int]:
    return [json.loads(line)["step"] for line in file.read_text().splitlines()]


def test_a_resumed_run_keeps_the_metrics_before_it(file: Path) -> None:
    """Case 7 of runs.md; the steps after the checkpoint are made again, so their first lines go."""
    log(1, 2, 3)
    with file.open("a") as stream:
        stream.write('{"step": 4, "da')  # where the run was killed
    metrics_file.resumes_at(2)
    log(3, 4)
    assert steps(file) == [1, 2, 3, 4]


def test_a_new_run_begins_its_file(file: Path) -> None:
    log(1, 2, 3)
    log(1)
    assert steps(file) == [1]


def test_it_is_the_file_that_verl_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VERL_FILE_LOGGER_PATH", raising=False)
    monkeypatch.setenv("VERL_FILE_LOGGER_ROOT", str(tmp_path))
    logger = FileLogger("project", "experiment")
    logger.finish()
    assert metrics_file.metrics_file("project", "experiment") == Path(logger.filepath)


def test_a_full_disk_is_said_once_and_leaves_whole_lines(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with files_end_at(80):
        log(1, 2, 3, 4, 5, 6)
    said = capsys.readouterr().out
    assert steps(file) == [1, 2]
    assert said.count("the metrics of a step could not be written, and the run goes on without such lines") == 1


def test_a_dump_that_the_disk_does_not_take_is_said_once_and_taken_away(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (1, 2):
        place = file.with_name(f"{step}.jsonl")
        with files_end_at(80), dump.whole_dump(place), place.open("w") as stream:
            stream.write("x" * 1000)
    assert not list(file.parent.glob("*.jsonl"))
    assert capsys.readouterr().out.count("1.jsonl could not be written; training goes on without such dumps") == 1
