"""`wapo-verl doctor`: all well here, and a fix and a non-zero end for what is wrong. No GPU, no Ray."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wapo_verl.algorithms import ALGORITHMS


def doctor(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wapo_verl.cli", "doctor"],
        capture_output=True,
        text=True,
        timeout=180,
        env={**os.environ, **environment},
    )


@pytest.mark.slow
def test_all_is_well_in_this_environment() -> None:
    done = doctor()
    assert done.returncode == 0, done.stdout + done.stderr
    for expected in ("verl: 0.9.1", "agent loops: search_agent", "tantivy: usable", "worker: says equal", "all well"):
        assert expected in done.stdout
    assert "actor engines: fsdp on cuda, fsdp on npu, fsdp2 on cuda, fsdp2 on npu, fsdp2 on cpu" in done.stdout
    assert {"wapo", "grpo_ref", "cpgd"} <= set(ALGORITHMS)
    assert f"estimators: {', '.join(ALGORITHMS)}" in done.stdout
    losses = {loss for found in ALGORITHMS.values() for loss in (found.loss_mode, *found.losses)}
    assert f"losses: {', '.join(sorted(losses))}" in done.stdout
    for patched in ("validate_config", "Metric.from_dict", "_sync_metadata_from_transfer_queue"):
        assert patched in done.stdout


def test_fixes_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Square brackets, as in an extra's name, are text and not markup."""
    from rich.console import Console

    from wapo_verl.cli import doctor as module

    sections = (("packages", lambda: [module.Check("vllm", "missing [x]", "pip install 'verl[vllm]'")]),)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SECTIONS", sections)
        assert module.doctor(Console(width=200)) == 1
    printed = capsys.readouterr().out
    assert "missing [x]" in printed
    assert "pip install 'verl[vllm]'" in printed


def test_a_folder_of_environments_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from wapo_verl.cli import doctor as module
    from wapo_verl.environments.registry import environments

    def check() -> list[module.Check]:
        return [module.Check("environments", ", ".join(environments()))]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WAPO_ENVIRONMENTS", "/no/such/folder")
        patch.setattr(module, "SECTIONS", (("registered with veRL", check),))
        assert module.doctor(Console(width=200)) == 1
    assert "WAPO_ENVIRONMENTS names /no/such/folder, which is no folder" in capsys.readouterr().out


@pytest.mark.slow
def test_another_verl_is_named_with_its_fix(tmp_path: Path) -> None:
    folder = tmp_path / "verl-0.8.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: verl\nVersion: 0.8.0\n")
    done = doctor(PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "plugin: not loaded" in done.stdout
    assert "pip install verl==0.9.1" in done.stdout


@pytest.mark.slow
def test_a_package_that_breaks_the_cpu_stack_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "torchvision-0.28.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n")
    done = doctor(PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "pip uninstall torchvision" in done.stdout
