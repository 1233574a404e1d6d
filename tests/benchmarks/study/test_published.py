"""What the README and the documents say of the study is what its records say. No GPU, no veRL run."""

from pathlib import Path

import pytest
from support.archives import unpack_records
from support.paths import ROOT

from benchmarks.guard.__main__ import page, read_runs
from benchmarks.guard.evaluation import replay
from benchmarks.study.fair import Protocol
from benchmarks.study.fair_report import legend, progress, results, tuning_table
from benchmarks.study.records import Record, is_finished, read_records
from benchmarks.study.report import overview
from benchmarks.study.settings import TASKS, StudySettings, task_folder
from wapo_verl.guard.thresholds import Thresholds

FIRST_GRID = ("wapo", "grpo_ref", "gspo_ref", "cpgd")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack_records("study_runs.tar.xz", tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def records(runs: Path) -> list[Record]:
    return read_records(runs)


def first_grid(records: list[Record]) -> list[Record]:
    """The grid that came before the comparison, of the methods whose definition has not changed since."""
    return [
        record
        for record in records
        if record.cell.seed < 5
        and record.cell.algorithm in FIRST_GRID
        and record.cell.learning_rate in (1e-3, 2e-3, 3e-3, 4e-3)
    ]


def test_the_readmes_table_is_the_records(records: list[Record]) -> None:
    assert tuning_table(records, Protocol()) in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("task", TASKS)
def test_the_documents_tables_are_the_records(runs: Path, task: str) -> None:
    text, records = (ROOT / "docs" / "study.md").read_text(), read_records(task_folder(runs, task))
    for table in (tuning_table, progress):
        assert table(records, Protocol()) in text
    assert legend(Protocol()) in text
    if any(record.cell.seed in Protocol().fresh_seeds for record in records):
        assert results(records, Protocol()) in text


def test_the_documents_first_grid_is_the_records(records: list[Record]) -> None:
    grid = first_grid(records)
    assert len(grid) == 200
    assert overview(grid) in (ROOT / "docs" / "study.md").read_text()


def test_the_guards_rates_are_those_on_the_records(runs: Path) -> None:
    thresholds = Thresholds()
    outcomes = [replay(run, thresholds) for run in read_runs(runs)]
    assert page(outcomes, frozenset({0, 1}), thresholds) == (ROOT / "benchmarks" / "guard.md").read_text()


def test_without_several_updates_a_narrow_clip_changes_nothing(records: list[Record]) -> None:
    """On policy every ratio is 1: the two are the same run, to the last digit of every validation."""
    curves = {record.cell.name: record.curve("val/exact_match") for record in records}
    same = [name for name in curves if name.startswith("wapo-clip0.2-") and "-k1-" in name]
    assert len(same) == 20
    for name in same:
        assert curves[name] == curves[name.replace("-clip0.2", "")]


def test_published_runs_are_finished_runs_of_todays_settings(runs: Path, records: list[Record]) -> None:
    """They were made before some settings had a name: those had the values of today's defaults."""
    assert all(is_finished(runs, record.cell, StudySettings(pass_questions=32)) for record in records[:3])
    with pytest.raises(ValueError, match="other settings"):
        is_finished(runs, records[0].cell, StudySettings(mistake_share=0.9))
