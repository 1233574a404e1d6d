"""The published runs with a guard are what today's guard does on their metrics; the page has their table. No GPU."""

import os
from pathlib import Path
from typing import Any

import pytest
from support.archives import unpack_records
from support.paths import ROOT

from benchmarks.guard.__main__ import read_runs
from benchmarks.guard.evaluation import replay as evaluated
from benchmarks.guard.evaluation import report
from benchmarks.guard.rollback import NONE, STOPPED, VARIANTS, Watched, folder_of, read_variants, table
from benchmarks.study.records import Record, read_records


class Weightless:
    """Stands in for a trainer whose weights nobody looks at."""

    lr_factor = 1.0
    loss = None

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack_records("guard_runs.tar.xz", tmp_path_factory.mktemp("rollbacks"))


def test_the_page_has_their_table(out: Path) -> None:
    assert table(read_variants(out)) in (ROOT / "docs" / "guard.md").read_text()


def actions(step: dict[str, float]) -> list[float | None]:
    """What the guard decides: whether there is an alarm, and if so where the run would go back to."""
    alarm = step["stability/alarms"] > 0
    return [alarm, step["stability/rollbacks"], step.get("stability/last_good_step") if alarm else None]


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_todays_guard_does_the_same_on_their_metrics(
    variant: str, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # which takes most of the time, and no crash is tested
    for number, record in enumerate(read_records(folder_of(out, variant))):
        replay(record, variant, tmp_path / str(number))


def replay(record: Record, variant: str, folder: Path) -> None:
    watched, trainer = Watched(VARIANTS[variant].settings, folder), Weightless()
    for step in record.steps[1:]:
        assert not watched.ends(trainer), record.cell.name
        metrics = {name: value for name, value in step.items() if not name.startswith("stability/")}
        found = watched.observe(int(step["step"]), metrics, trainer)
        assert actions(found) == actions(dict(step)), (record.cell.name, step["step"])
    assert watched.guard.wants_out is bool(record.steps[-1][STOPPED]), record.cell.name


def test_the_page_has_the_rates_of_the_rules_that_the_study_did_not_record(out: Path) -> None:
    runs = read_runs(folder_of(out, NONE))
    rows = report([evaluated(run) for run in runs]).splitlines()
    text = (ROOT / "docs" / "guard.md").read_text()
    for rule in ("truncation", "winner_likelihood"):
        assert next(row for row in rows if row.startswith(f"| `{rule}` alone")) in text
    collapsed = sum(run.collapsed_at is not None for run in runs)
    assert f"On the {len(runs)} runs without a guard of\n`benchmarks/guard_runs.tar.xz`, {collapsed} of them" in text
