"""`wapo-verl doctor`: all well here, and a fix and a non-zero end for what is wrong. No GPU, no Ray."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import HIDDEN
from support.verl_copies import with_renamed

from wapo_verl.algorithms import ALGORITHMS

COMMAND = Path(sys.executable).parent / "wapo-verl"
"""The command as it is installed: its own folder, and not the current one, comes first on the path."""


def doctor(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in HIDDEN}
    return subprocess.run(
        [COMMAND, "doctor"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder,
        env={**inherited, "COLUMNS": "200", **environment},
    )


@pytest.mark.slow
def test_all_is_well_in_this_environment(tmp_path: Path) -> None:
    done = doctor(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for expected in ("verl: 0.9.1", "agent loops: search_agent", "tantivy: usable", "worker: says equal", "all well"):
        assert expected in done.stdout
    for feature in ("settings", "algorithms", "trainer", "step plans", "agent loops", "CPU platform"):
        assert f"{feature}: fits" in done.stdout
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
def test_the_verl_of_the_current_folder_is_judged_and_not_the_metadata(tmp_path: Path) -> None:
    """Case 10: from a checkout's folder `python -m verl.trainer.main_ppo` runs the checkout."""
    verl = with_renamed(tmp_path / "checkout", {"_compute_advantage": "_estimate_advantage"})
    number = verl / "verl" / "version" / "version"
    number.unlink()
    number.write_text("0.10.0.dev0\n")
    done = doctor(verl)
    assert done.returncode == 1
    assert f"verl: 0.10.0.dev0, {verl / 'verl'}" in done.stdout
    assert "trainer: does not fit" in done.stdout
    assert "PPOTrainer._compute_advantage is gone" in done.stdout
    assert "settings: fits" in done.stdout
    assert "all well" not in done.stdout


@pytest.mark.slow
def test_a_folders_retrieval_index_is_named(tmp_path: Path) -> None:
    """Case 14: the command itself does not see the folder that it is started in, a run does."""
    (tmp_path / "retrieval_index.py").write_text("raise ImportError('the user's')\n")
    done = doctor(tmp_path)
    assert done.returncode == 1
    assert f"here that name means {tmp_path / 'retrieval_index.py'}" in done.stdout


@pytest.mark.slow
def test_a_folder_that_hides_this_package_is_named(tmp_path: Path) -> None:
    """A folder of that name, a clone for one, comes before an editable install: veRL would not find the plugin."""
    (tmp_path / "wapo_verl").mkdir()
    (tmp_path / "wapo_verl" / "__init__.py").touch()
    done = doctor(tmp_path)
    assert done.returncode == 1
    assert f"here that name means {tmp_path / 'wapo_verl' / '__init__.py'}" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("WAPO_VERL_DISABLE", "1", "plugin: off: WAPO_VERL_DISABLE is set"),
        ("VERL_USE_EXTERNAL_PLUGINS", "none", "plugin: off: VERL_USE_EXTERNAL_PLUGINS=none"),
    ],
)
def test_a_plugin_that_is_switched_off_is_not_well(tmp_path: Path, variable: str, value: str, said: str) -> None:
    done = doctor(tmp_path, **{variable: value})
    assert done.returncode == 1
    assert said in done.stdout


def test_an_optional_part_that_is_missing_is_no_fault_and_not_well_either(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    from wapo_verl.cli import doctor as module

    monkeypatch.setitem(sys.modules, "bm25s", None)
    monkeypatch.delitem(sys.modules, "retrieval_index.backends.bm25s", raising=False)
    monkeypatch.setattr(module, "SECTIONS", (("retrieval back ends", module.check_backends),))
    assert module.doctor(Console(width=200)) == 0
    lines = capsys.readouterr().out.splitlines()
    (bm25s,) = (line for line in lines if "bm25s:" in line)
    assert bm25s.strip().startswith("– bm25s: optional, not usable")
    assert any(line.strip().startswith("✓ tantivy: usable") for line in lines)


@pytest.mark.slow
def test_a_package_that_breaks_the_cpu_stack_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "torchvision-0.28.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n")
    done = doctor(tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "pip uninstall torchvision" in done.stdout
