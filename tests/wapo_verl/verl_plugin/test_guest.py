"""Slow: a run that asks for nothing of this package is as if it were not installed. No GPU, no Ray.

Every run here is a process of its own, started as `python -m` in a folder of the user's. Those with the plugin have
all in their way that has ever broken one: names of ours in the folder, environments that are gone, packages missing
that only we need.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support.paths import TESTS
from support.plain_runs import EXAMPLES
from support.processes import found_in, hostile_folder, python
from support.ranks import write_tiny_model

pytestmark = pytest.mark.slow

Found = dict[str, Any]
PLAIN, OURS = (TESTS / "support" / name for name in ("plain_runs.py", "our_run.py"))
WITHOUT = {"VERL_USE_EXTERNAL_PLUGINS": "none"}
ONLY_OURS = ("tantivy", "ijson", "rank_bm25", "math_verify", "prometheus_client", "typer")
"""Packages that this project needs and veRL does not."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Callable[..., Found]:
    """Run veRL's examples, once for each way: (with the plugin?, an accelerator on this machine?, switched off?)."""

    @cache
    def run(plugin: bool, accelerator: bool = False, off: bool = False) -> Found:
        folder = tmp_path_factory.mktemp("plain")
        clean = folder / "clean"
        clean.mkdir()
        variables = {} if plugin else WITHOUT
        if accelerator:
            smi = folder / "bin" / "nvidia-smi"
            smi.parent.mkdir()
            smi.write_text("#!/bin/sh\nexit 0\n")
            smi.chmod(0o755)
            variables = {**variables, "PATH": f"{smi.parent}:/usr/bin:/bin"}
        if plugin:
            hostile_folder(folder / "hostile")
            for name in ONLY_OURS:
                (folder / "hostile" / f"{name}.py").write_text(f"raise ModuleNotFoundError({name!r})\n")
            variables = {**variables, "WAPO_ENVIRONMENTS": "/no/such/folder"}
        if off:
            variables = {**variables, "WAPO_VERL_DISABLE": "1"}
        where = folder / "hostile" if plugin else clean
        return found_in(python(PLAIN, str(model), "3" if off else "", folder=where, variables=variables))

    return run


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("accelerator", [False, True], ids=["no accelerator here", "an accelerator here"])
def test_verls_examples_resolve_key_by_key_as_without_us(
    plain: Callable[..., Found], accelerator: bool, name: str
) -> None:
    """Without a GPU on the driver, on every engine, without `trainer.v1`: case 7, 8, 9, 13 and 14."""
    without, beside = (plain(plugin, accelerator)["examples"][name] for plugin in (False, True))
    assert beside == without
    assert without["config"]["trainer"]["device"] == "cuda"


def test_some_examples_pass_validation(plain: Callable[..., Found]) -> None:
    """Else the comparison above would compare error messages."""
    raised = {name for name, outcome in plain(False)["examples"].items() if outcome["raised"]}
    assert raised <= {"grpo with LoRA"}, "which looks for vLLM's version, under the name of its GPU build"


@pytest.mark.parametrize("accelerator", [False, True], ids=["no accelerator here", "an accelerator here"])
def test_platform_engines_builders_tools_and_buffers_are_verls_own(
    plain: Callable[..., Found], accelerator: bool
) -> None:
    without, beside = (plain(plugin, accelerator)["surroundings"] for plugin in (False, True))
    assert beside == without
    assert without["platform"] == "PlatformCUDA"
    assert "cpu" not in without["platforms"]


def test_nothing_of_ours_is_imported_beyond_the_hooks(plain: Callable[..., Found]) -> None:
    found = plain(True)
    hooks = {"after_import", "asks", "entry_point", "loading", "patches"}
    allowed = {"wapo_verl", "wapo_verl.verl_plugin", *(f"wapo_verl.verl_plugin.{name}" for name in hooks)}
    assert set(found["imported"]) == allowed | {"wapo_verl.cpu", "wapo_verl.cpu.where"}
    assert found["imported at the end"] == found["imported"]


def test_switched_off_nothing_of_ours_is_there(plain: Callable[..., Found]) -> None:
    """Case 12."""
    off, without = plain(True, off=True), plain(False)
    assert off["examples"].items() <= without["examples"].items()
    assert off["surroundings"] == without["surroundings"]


def test_a_run_that_asks_while_it_is_switched_off_ends_as_verl_ends_it(tmp_path: Path, model: Path) -> None:
    code = "from verl.trainer.ppo.core_algos import get_adv_estimator_fn as get; get('wapo')"
    done = python(code, folder=tmp_path, variables={"WAPO_VERL_DISABLE": "1"})
    assert "Unknown advantage estimator simply: wapo" in done.stderr


def our_run(folder: Path, model: Path, *overrides: str) -> Any:
    return python(OURS, str(model), "algorithm.adv_estimator=wapo", *overrides, folder=folder)


def test_a_run_of_ours_is_not_misled_by_a_users_folders(tmp_path: Path, model: Path) -> None:
    """Case 13: `envs/`, `recipes/`, `tests/`, `examples/` with code in them, `benchmarks/` without."""
    found = found_in(our_run(hostile_folder(tmp_path / "user", retrieval_index=False), model))
    assert {"hotpotqa", "math500", "miniwiki", "numinamath_lean", "ottqa"} <= set(found["environments"])
    assert (found["trainer"], found["loss"], found["device"]) == ("wapo_sync", "wapo", "cpu")
    assert found["external_lib"] == {"lib": ["wapo_verl.verl_plugin.step_plan_engine"]}
    assert found["ray_init"]["runtime_env"]["env_vars"]["VERL_PLATFORM"] == "cpu"


@pytest.mark.parametrize("kind", ["module", "package"])
def test_a_foreign_retrieval_index_is_one_clear_sentence(tmp_path: Path, model: Path, kind: str) -> None:
    """Case 14."""
    place = tmp_path / ("retrieval_index.py" if kind == "module" else "retrieval_index/__init__.py")
    place.parent.mkdir(exist_ok=True)
    place.write_text("raise AssertionError('imported')\n")
    done = our_run(tmp_path, model)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "this run uses wapo-verl, whose package 'retrieval_index' is" in last
    assert str(tmp_path / "retrieval_index") in last
    assert "rename that, or start the run in another folder" in last


def test_what_cannot_be_imported_is_one_clear_sentence_where_it_is_asked_for(tmp_path: Path, model: Path) -> None:
    """Case 11: veRL hid it, and called the estimator unknown minutes later."""
    (tmp_path / "rich.py").write_text("raise ModuleNotFoundError(\"No module named 'rich'\", name='rich')\n")
    done = our_run(tmp_path, model)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        "wapo_verl.verl_plugin.errors.PluginError: algorithm.adv_estimator=wapo asks for wapo-verl, which cannot be "
        "imported: No module named 'rich'; install it into this environment"
    )


def test_a_run_on_a_cluster_elsewhere_stays_there_and_says_so(tmp_path: Path, model: Path) -> None:
    """Case 7 and 15, for a run of ours: a driver without a GPU is not a CPU run by that alone."""
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("10.0.0.1:6379")
    done = our_run(tmp_path, model)
    found = found_in(done)
    assert (found["device"], found["trainer"]) == ("cuda", "wapo_sync")
    assert found["ray_init"]["num_cpus"] is None
    assert "num_gpus" not in found["ray_init"]
    assert "the devices are not this machine's, since a Ray cluster runs on this machine (10.0.0.1:6379)" in done.stdout


def test_the_cpu_is_taken_where_it_is_asked_for_and_joins_a_running_cluster(tmp_path: Path, model: Path) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("10.0.0.1:6379")
    found = found_in(our_run(tmp_path, model, "trainer.device=cpu"))
    assert found["device"] == "cpu"
    assert found["ray_init"]["num_cpus"] is None, "which Ray refuses beside a cluster that is there"
    assert "num_gpus" not in found["ray_init"]
    assert found["ray_init"]["runtime_env"]["env_vars"]["VERL_PLATFORM"] == "cpu"
