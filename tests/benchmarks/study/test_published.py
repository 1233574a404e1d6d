"""What the README and the documents say of the study is what its records say. No GPU, no veRL run."""

import shutil
import tarfile
from pathlib import Path

import pytest
from support.archives import unpack_records
from support.paths import ROOT

from benchmarks.guard.__main__ import page, read_runs
from benchmarks.guard.evaluation import replay
from benchmarks.study.publish import PAGES, blocks, filled, first_grid, pack
from benchmarks.study.records import Record, is_finished, read_records
from benchmarks.study.settings import StudySettings
from wapo_verl.guard.thresholds import Thresholds


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack_records("study_runs.tar.xz", tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def records(runs: Path) -> list[Record]:
    return read_records(runs)


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_tables_are_the_records(runs: Path, page: str) -> None:
    text = (ROOT / page).read_text()
    assert "<!-- study: results of miniwiki, 8 a step -->" in text
    assert filled(text, blocks(runs)) == text


def test_the_first_grid_is_whole(records: list[Record]) -> None:
    assert len(first_grid(records)) == 200


def test_a_page_that_names_an_unknown_table_is_refused() -> None:
    with pytest.raises(ValueError, match="the study has no table 'scores'; there are results"):
        filled("<!-- study: scores -->\n<!-- end -->\n", {"results": "| 1 |\n"})
    assert filled("a\n<!-- study: one -->\nold\n<!-- end -->\n", {"one": "| 1 |\n"}) == (
        "a\n<!-- study: one -->\n\n| 1 |\n\n<!-- end -->\n"
    )


def test_the_same_runs_make_the_same_archive(runs: Path, tmp_path: Path) -> None:
    """Two of them, since all take seconds to pack."""
    files = sorted((runs / "cells").glob("*.jsonl"))[:2]
    (tmp_path / "cells").mkdir()
    for file in files:
        shutil.copy(file, tmp_path / "cells")
    for name in ("one.tar.xz", "two.tar.xz"):
        pack(tmp_path, tmp_path / name)
    assert (tmp_path / "one.tar.xz").read_bytes() == (tmp_path / "two.tar.xz").read_bytes()
    with tarfile.open(tmp_path / "one.tar.xz") as packed:
        assert packed.getnames() == [f"cells/{file.name}" for file in files]


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
