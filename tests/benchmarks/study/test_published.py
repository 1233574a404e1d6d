"""What the README and the documents say of the study is what its records say. No GPU, no veRL run."""

import tarfile
from pathlib import Path

import pytest
from support.paths import ROOT

from benchmarks.guard.__main__ import page, read_runs
from benchmarks.guard.evaluation import replay
from benchmarks.study.records import Record, is_finished, read_records
from benchmarks.study.report import overview, pairs, table
from benchmarks.study.settings import StudySettings
from wapo_verl.guard.thresholds import Thresholds


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    with tarfile.open(ROOT / "benchmarks" / "study_runs.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def records(runs: Path) -> list[Record]:
    return read_records(runs)


def test_the_readmes_table_is_the_records(records: list[Record]) -> None:
    assert overview(records) in (ROOT / "README.md").read_text()


def test_the_documents_tables_are_the_records(records: list[Record]) -> None:
    text = (ROOT / "docs" / "study.md").read_text()
    assert table(records) in text
    assert pairs(records) in text


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
