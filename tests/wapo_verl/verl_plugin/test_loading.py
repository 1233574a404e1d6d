"""The plugin loads in every process that imports verl, or says at once why not. No GPU, no Ray, no vLLM."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wapo_verl.verl_plugin import loading


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env={**os.environ, **environment}
    )


def stand_in_for(package: str, directory: Path, version: str) -> None:
    """Put metadata of another version of a package first on the path."""
    folder = directory / f"{package}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")


@pytest.mark.slow
def test_importing_verl_loads_it_and_little_else() -> None:
    done = run(
        "import verl, sys\n"
        "from verl.plugin.platform import get_platform\n"
        "heavy = {'vllm', 'transformers.models.auto.modeling_auto', 'tantivy', 'verl.trainer.ppo.core_algos'}\n"
        "print(sorted(heavy & set(sys.modules)), 'wapo_verl.verl_plugin.loading' in sys.modules)"
    )
    assert done.stdout.strip() == "[] True", done.stderr


@pytest.mark.slow
def test_the_estimator_is_there_when_verl_looks_for_it() -> None:
    done = run("from verl.trainer.ppo import core_algos; print(core_algos.get_adv_estimator_fn('wapo').__module__)")
    assert done.stdout.strip() == "wapo_verl.verl_plugin.algorithms", done.stderr


@pytest.mark.slow
def test_another_verl_ends_the_process_with_the_mend(tmp_path: Path) -> None:
    stand_in_for("verl", tmp_path, "0.8.0")
    done = run("import verl; print('went on')", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "went on" not in done.stdout
    assert "verl 0.8.0 is installed, wapo-verl is written for verl 0.9.1" in done.stderr
    assert "pip install verl==0.9.1" in done.stderr


@pytest.mark.slow
def test_verl_without_the_plugin_still_works(tmp_path: Path) -> None:
    stand_in_for("verl", tmp_path, "0.8.0")
    done = run("import verl; print('went on')", PYTHONPATH=str(tmp_path), VERL_USE_EXTERNAL_PLUGINS="none")
    assert done.stdout.strip() == "went on", done.stderr


def test_a_hook_that_fails_names_the_plugin_and_the_seam() -> None:
    def broken(_: object) -> None:
        raise AttributeError("agg_loss is gone")

    with pytest.raises(loading.PluginError, match=r"register itself with verl\.trainer.*agg_loss is gone"):
        loading._in_the_users_face("verl.trainer.ppo.core_algos", broken)(sys)
