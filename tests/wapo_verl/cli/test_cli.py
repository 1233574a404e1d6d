"""The command `wapo-verl`: arguments, printing, exit codes; no traceback for a user's mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest
from support.paths import ROOT
from typer.testing import CliRunner

from wapo_verl.cli.app import app
from wapo_verl.environments.registry import environment

SAMPLE = environment("hotpotqa").sample_source()
runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"})


def test_prepare_says_what_it_wrote_and_shows_a_row(tmp_path: Path) -> None:
    done = runner.invoke(app, ["prepare", "hotpotqa", "--source", str(SAMPLE), "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    for shown in ("train.parquet", "hotpot_train_v1.1.json", "first row of train.parquet", "Ilse Maru", "search_agent"):
        assert shown in done.output
    written = {f"{split}.{kind}" for split in ("train", "dev") for kind in ("parquet", "manifest.json")}
    assert {file.name for file in tmp_path.iterdir()} == written


def test_prepare_takes_splits_limit_and_settings(tmp_path: Path) -> None:
    arguments = ["prepare", "miniwiki", "--out", str(tmp_path), "--split", "train", "--limit", "3", "--set", "seed=7"]
    done = runner.invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert {file.name for file in tmp_path.iterdir()} == {"train.parquet", "train.manifest.json", "documents.jsonl"}


def test_a_malformed_row_is_named_without_a_traceback(tmp_path: Path) -> None:
    assert SAMPLE
    rows = json.loads((SAMPLE / "hotpot_train_v1.1.json").read_text())
    rows[1]["supporting_facts"] = "[brackets] are [/no] markup"
    file = tmp_path / "broken.json"
    file.write_text(json.dumps(rows))
    arguments = ["prepare", "hotpotqa", "--source", str(file), "--split", "train", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "wapo_verl.cli", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"error: {file}, row 1, field 'supporting_facts': must be pairs" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["hotpot"], "no environment 'hotpot'"),
        (["hotpotqa", "--source", "gone"], "there is no file or folder gone"),
        (["hotpotqa", "--set", "colour"], "not of the form key=value"),
    ],
)
def test_a_mistake_ends_with_one_sentence(arguments: list[str], problem: str, tmp_path: Path) -> None:
    done = runner.invoke(app, ["prepare", *arguments, "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert problem in done.output


def test_an_out_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    done = runner.invoke(app, ["prepare", "hotpotqa", "--source", str(SAMPLE), "--out", str(tmp_path / "out")])
    assert done.exit_code == 2


@pytest.mark.parametrize("code", [0, 3])
def test_doctor_ends_with_its_own_code(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = ModuleType("wapo_verl.cli.doctor")
    monkeypatch.setattr(stand_in, "doctor", lambda **_: code, raising=False)
    monkeypatch.setitem(sys.modules, "wapo_verl.cli.doctor", stand_in)
    assert runner.invoke(app, ["doctor"]).exit_code == code


def test_doctor_takes_no_setting_of_a_template_without_a_model() -> None:
    done = runner.invoke(app, ["doctor", "--set", "enable_thinking=false"])
    assert done.exit_code == 1
    assert done.output.startswith("error: --set is of the chat template of --model")


def test_help_lists_the_commands_and_imports_nothing_heavy() -> None:
    done = runner.invoke(app, ["--help"])
    assert done.exit_code == 0
    assert "prepare" in done.output
    assert "doctor" in done.output
    code = "import sys, wapo_verl.cli.app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"pyarrow", "torch", "verl", "envs"}.isdisjoint(loaded.stdout.split())


def test_version_is_one_line_with_verls(monkeypatch: pytest.MonkeyPatch) -> None:
    done = runner.invoke(app, ["--version"])
    assert done.exit_code == 0
    assert done.stdout == f"wapo-verl {version('wapo-verl')}, verl {version('verl')}\n"
    monkeypatch.setattr("wapo_verl.cli.doctor.installed", lambda name: None)
    assert runner.invoke(app, ["--version"]).stdout == f"wapo-verl {version('wapo-verl')}, verl is not installed\n"
