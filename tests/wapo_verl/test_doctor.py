"""`wapo-verl doctor`: all well here, and a mend and a non-zero end for what is wrong. No GPU, no Ray."""

import os
import subprocess
import sys
from pathlib import Path


def doctor(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wapo_verl.cli", "doctor"],
        capture_output=True,
        text=True,
        timeout=180,
        env={**os.environ, **environment},
    )


def test_all_is_well_in_this_environment() -> None:
    done = doctor()
    assert done.returncode == 0, done.stdout + done.stderr
    for expected in ("verl: 0.9.1", "estimators: wapo", "agent loops: search_agent", "tantivy: usable", "all well"):
        assert expected in done.stdout
    for patched in ("validate_config", "Metric.from_dict", "_sync_metadata_from_transfer_queue"):
        assert patched in done.stdout


def test_another_verl_is_named_with_its_mend(tmp_path: Path) -> None:
    folder = tmp_path / "verl-0.8.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: verl\nVersion: 0.8.0\n")
    done = doctor(PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "plugin: not loaded" in done.stdout
    assert "pip install verl==0.9.1" in done.stdout


def test_a_package_that_breaks_the_cpu_stack_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "torchvision-0.28.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n")
    done = doctor(PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "pip uninstall torchvision" in done.stdout
