"""What new-env writes, where, and what it refuses. No veRL, no GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT
from typer.testing import CliRunner

from wapo_verl.cli.app import app
from wapo_verl.env_tools.scaffold import SAMPLES, make
from wapo_verl.environments import installed, registry

runner = CliRunner(env={"COLUMNS": "300", "NO_COLOR": "1"})


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(registry.VARIABLE, raising=False)
    monkeypatch.setattr(installed, "__path__", list(installed.__path__))
    registry.forget()


def test_it_says_how_the_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = runner.invoke(app, ["new-env", "zz_first"])
    assert done.exit_code == 0, done.output
    assert f"export WAPO_ENVIRONMENTS={tmp_path / 'environments'}" in done.output
    assert (tmp_path / "environments" / "zz_first" / "sample" / "train.jsonl").is_file()
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path / "environments"))
    second = runner.invoke(app, ["new-env", "zz_second", "--kind", "retrieval"])
    assert second.exit_code == 0
    assert "export" not in second.output
    assert {"zz_first", "zz_second"} <= set(registry.names())
    third = runner.invoke(app, ["new-env", "zz_third", "--path", "a b"])
    assert f"export WAPO_ENVIRONMENTS='{tmp_path / 'environments'}{os.pathsep}{tmp_path / 'a b'}'" in third.output


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("Word", "'Word' cannot name an environment"),
        ("2sums", "cannot name"),
        ("word-sums", "cannot name"),
        ("a/b", "cannot name"),
        ("class", "'class' is a word of Python's own"),
        ("", "cannot name"),
        ("hotpotqa", "there is an environment 'hotpotqa' already"),
        ("zz_there", "zz_there is there already; choose another name, or remove it"),
    ],
)
def test_a_name_that_cannot_be_is_refused_in_one_sentence(name: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "environments" / "zz_there").mkdir(parents=True)
    done = runner.invoke(app, ["new-env", name])
    assert done.exit_code == 1
    assert problem in done.output
    assert "Traceback" not in done.output
    assert [path.name for path in (tmp_path / "environments").iterdir()] == ["zz_there"]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = runner.invoke(app, ["new-env", "zz_new", "--path", "file/environments"])
    assert done.exit_code == 1
    assert "error: " in done.output
    assert "Traceback" not in done.output


def test_the_code_is_small_and_in_this_projects_style(tmp_path: Path) -> None:
    for kind, most in (("math", 60), ("retrieval", 100)):
        made = make(f"zz_{kind}", kind, tmp_path)
        assert len(made.files) == 1 + len(SAMPLES[kind])
        assert len(made.files[0].read_text().splitlines()) < most
    configured = ["--config", str(ROOT / "pyproject.toml"), str(tmp_path)]
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *configured], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_command_stays_light() -> None:
    code = "import sys, wapo_verl.cli.app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"numpy", "pyarrow", "torch", "verl", "envs", "omegaconf"}.isdisjoint(loaded.stdout.split())
