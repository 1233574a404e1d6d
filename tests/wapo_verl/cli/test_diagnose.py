"""`wapo-verl diagnose` on recorded runs of the study, written as veRL's file logger writes. No veRL, no GPU."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.archives import unpack_records
from support.paths import ROOT
from typer.testing import CliRunner

from benchmarks.study.records import read_record
from wapo_verl.cli.app import app

runner = CliRunner(env={"COLUMNS": "100", "NO_COLOR": "1"})


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack_records("study_runs.tar.xz", tmp_path_factory.mktemp("diagnose")) / "cells"


def as_logged(study: Path, name: str, folder: Path) -> Path:
    """Write a run of the study as veRL's file logger would have."""
    steps = read_record(study / f"{name}.jsonl").steps
    data = [{key: value for key, value in step.items() if key != "step"} for step in steps]
    file = folder / "metrics.jsonl"
    lines = [json.dumps({"step": step["step"], "data": each}) for step, each in zip(steps, data, strict=True)]
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.mark.parametrize("name", ["wapo-clip0.2-lr0.004-k8-seed3", "grpo_ref-lr0.002-k8-seed3"])
def test_alarms_are_those_that_the_guards_page_has(name: str, study: Path, tmp_path: Path) -> None:
    """The page is printed from the same records: a run that collapsed, and one that fell for a while."""
    page = (ROOT / "benchmarks" / "guard.md").read_text()
    (listed,) = re.findall(rf"^- {re.escape(name)}: .*?((?:\w+ at \d+(?:, )?)+)(?:;|$)", page, re.MULTILINE)
    expected = {rule: int(step) for rule, step in re.findall(r"(\w+) at (\d+)", listed) if rule != "collapsed"}
    done = runner.invoke(app, ["diagnose", str(as_logged(study, name, tmp_path)), "--json"])
    assert done.exit_code == 1
    assert {alarm["rule"]: alarm["step"] for alarm in json.loads(done.stdout)["alarms"]} == expected
    assert len(expected) >= 5


def test_a_sound_run_has_no_alarm(study: Path, tmp_path: Path) -> None:
    done = runner.invoke(app, ["diagnose", str(as_logged(study, "wapo-lr0.0005-k8-seed100", tmp_path))])
    assert done.exit_code == 0
    assert "40 steps, from 1 to 40\nNo alarm in 40 steps.\n" in done.stdout.replace(f"{tmp_path}/metrics.jsonl: ", "")


def test_a_csv_says_what_the_jsonl_says(study: Path, tmp_path: Path) -> None:
    file = as_logged(study, "wapo-clip0.2-lr0.004-k8-seed3", tmp_path)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    names = sorted({name for row in rows for name in row["data"]})
    table = [["_step", *names], *([row["step"], *(row["data"].get(name, "") for name in names)] for row in rows)]
    (tmp_path / "metrics.csv").write_text("".join(",".join(map(str, cells)) + "\n" for cells in table))
    found = [json.loads(runner.invoke(app, ["diagnose", str(each), "--json"]).stdout) for each in tmp_path.iterdir()]
    assert found[0] | {"file": ""} == found[1] | {"file": ""}


def test_the_page_shows_what_the_command_prints(tmp_path: Path) -> None:
    study = unpack_records("guard_runs.tar.xz", tmp_path) / "no-guard" / "cells"
    file = as_logged(study, "grpo_ref-lr0.003-k8-seed4", tmp_path)
    printed = runner.invoke(app, ["diagnose", str(file)]).stdout.replace(f"{tmp_path}/", "")
    shown = "\n".join(line.rstrip() for line in printed.splitlines()).rstrip()
    page = (ROOT / "docs" / "collapse.md").read_text()
    assert f"$ wapo-verl diagnose metrics.jsonl\n{shown}\n```" in page, shown


def test_hostile_names_are_neither_markup_nor_control_characters(tmp_path: Path) -> None:
    file = tmp_path / "[bold]x.jsonl"
    file.write_text("".join(json.dumps({"step": s, "data": {"actor/\x1b[31m[/b]": None}}) + "\n" for s in (1, 2)))
    done = runner.invoke(app, ["diagnose", str(file)])
    assert done.exit_code == 1
    assert "\x1b" not in done.stdout
    assert "[bold]x.jsonl: 2 steps" in done.stdout.replace("\n", "")
    assert "[/b] is nan" in done.stdout
    assert json.loads(runner.invoke(app, ["diagnose", str(file), "--json"]).stdout)["alarms"][0]["value"] is None


def test_a_mistake_ends_with_one_sentence(tmp_path: Path) -> None:
    for given, problem in (
        (tmp_path, "is a folder"),
        (tmp_path / "gone", "No such file"),
        (ROOT / "README.md", "no c"),
    ):
        done = runner.invoke(app, ["diagnose", str(given)])
        assert done.exit_code == 1
        assert done.stderr.startswith("error: ")
        assert problem in done.stderr
        assert done.stdout == ""


def test_it_imports_nothing_heavy(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text(json.dumps({"step": 1, "data": {"critic/score/mean": 0.5}}) + "\n")
    code = (
        "import sys; from wapo_verl.cli.app import app\n"
        f"app(['diagnose', {str(file)!r}], standalone_mode=False); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "No alarm in 1 step." in done.stdout
    assert {"torch", "verl", "ray", "numpy", "pandas", "pyarrow"}.isdisjoint(done.stdout.split())
